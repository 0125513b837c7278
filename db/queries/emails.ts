import { v7 as uuidv7 } from 'uuid';
import type { EmailKind } from '../../domain/words.ts';
import { plain, type Session, type Transaction } from '../connection.ts';

/** What an email says and whom it comes from. */
export interface EmailContent {
  readonly subject: string;
  readonly fromName: string | null;
  readonly fromAddress: string;
  readonly replyTo: string | null;
  readonly html: string | null;
  readonly text: string | null;
}

/** An email at one of its versions, mostly the newest. */
export interface Email extends EmailContent {
  readonly id: string;
  readonly name: string;
  readonly kind: EmailKind;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly archivedAt: Date | null;
}

/** An email in a list: without its content. */
export type EmailSummary = Omit<Email, 'fromName' | 'fromAddress' | 'replyTo' | 'html' | 'text'>;

/** What is left out stays as it is. The kind stays for good: sends were allowed or refused by it. */
export type EmailChange = {
  readonly [Key in keyof EmailContent | 'name']?: (EmailContent & { name: string })[Key];
};

const INSERT = plain(`
  insert into email (id, name, kind, version, created_at, updated_at) values ($1, $2, $3, 1, $4, $4)`);
const INSERT_VERSION = plain(`
  insert into email_version (email_id, version, subject, from_name, from_address, reply_to, html, text, created_at)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`);
const READ = plain(`
  select e.id, e.name, e.kind, v.version, e.created_at as "createdAt", e.updated_at as "updatedAt",
    e.archived_at as "archivedAt", v.subject, v.from_name as "fromName", v.from_address as "fromAddress",
    v.reply_to as "replyTo", v.html, v.text
  from email e join email_version v on v.email_id = e.id and v.version = coalesce($2::int, e.version) where e.id = $1`);
const LOCK = plain('select 1 from email where id = $1 for no key update');
const LIST = plain(`
  select e.id, e.name, e.kind, e.version, e.created_at as "createdAt", e.updated_at as "updatedAt",
    e.archived_at as "archivedAt", v.subject
  from email e join email_version v on v.email_id = e.id and v.version = e.version
  where ($1 or e.archived_at is null) and ($2::uuid is null or e.id < $2) order by e.id desc limit $3`);
const CHANGE = plain('update email set name = $2, version = $3, updated_at = $4 where id = $1');
const ARCHIVE = plain(
  'update email set archived_at = $2, updated_at = $2 where id = $1 and archived_at is null',
);

/** @returns the id of the email, which is at version 1 */
export async function createEmail(
  tx: Transaction,
  now: Date,
  name: string,
  kind: EmailKind,
  content: EmailContent,
): Promise<string> {
  const id = uuidv7();
  await tx.query(INSERT, [id, name, kind, now]);
  await insertVersion(tx, now, id, 1, content);
  return id;
}

/**
 * @param version `null`: the newest
 * @returns `null` where there is no such email; an archived one is found
 */
export async function readEmail(
  on: Session,
  id: string,
  version: number | null = null,
): Promise<Email | null> {
  const [row] = await on.query<Email & Record<string, unknown>>(READ, [id, version]);
  return row ?? null;
}

/** Emails, newest first. */
export async function listEmails(
  on: Session,
  archived: boolean,
  beforeId: string | null,
  limit: number,
): Promise<EmailSummary[]> {
  return on.query<EmailSummary & Record<string, unknown>>(LIST, [archived, beforeId, limit]);
}

/** The email, locked against every other change until this transaction is over. */
export async function lockEmail(tx: Transaction, id: string): Promise<Email | null> {
  await tx.query(LOCK, [id]);
  return readEmail(tx, id);
}

/**
 * Makes a new version of a locked email. Sends that exist keep the version that they were made with.
 *
 * @returns the new version
 */
export async function changeEmail(
  tx: Transaction,
  now: Date,
  email: Email,
  change: EmailChange,
): Promise<number> {
  const changed = { ...email, ...change };
  const version = email.version + 1;
  await insertVersion(tx, now, email.id, version, changed);
  await tx.query(CHANGE, [email.id, changed.name, version, now]);
  return version;
}

/** Takes a locked email out of use; sends that exist go on. */
export async function archiveEmail(tx: Transaction, now: Date, id: string): Promise<void> {
  await tx.query(ARCHIVE, [id, now]);
}

async function insertVersion(
  tx: Transaction,
  now: Date,
  id: string,
  version: number,
  content: EmailContent,
): Promise<void> {
  await tx.query(INSERT_VERSION, [
    id,
    version,
    content.subject,
    content.fromName,
    content.fromAddress,
    content.replyTo,
    content.html,
    content.text,
    now,
  ]);
}
