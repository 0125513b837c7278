import { randomUUID } from 'node:crypto';
import { plain } from '../../db/connection.ts';
import { claimBulkUpdate, decideRows, takeNextPage } from '../../db/queries/bulkUpdatePage.ts';
import {
  type BulkUpdate,
  createBulkUpdate,
  createUndo,
  readBulkUpdate,
} from '../../db/queries/bulkUpdates.ts';
import { readCustomFields } from '../../db/queries/customFields.ts';
import { parseBulkChange } from '../../domain/bulkUpdate/change.ts';
import type { Origin } from '../../domain/words.ts';
import type { TestAccount } from './account.ts';

/** Who makes bulk updates in tests, and why. */
export const BULK_ORIGIN: Origin = { way: 'api', actor: 'legal', reason: 'the law of the land' };

const request = () => ({ idempotencyKey: randomUUID(), requestHash: Buffer.from('request') });

/** A bulk update that is known to be good. Nothing of it has been done. */
export async function newBulkUpdate(
  account: TestAccount,
  input: { criteria?: unknown; field: string; value: unknown },
  now = new Date(),
): Promise<string> {
  const given = { criteria: { all: [] }, ...input };
  const parsed = parseBulkChange(given, await readCustomFields(account.db));
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  const made = await account.db.transaction((tx) =>
    createBulkUpdate(tx, BULK_ORIGIN, now, parsed.change, request()),
  );
  if (made.kind !== 'created') throw new Error(made.kind);
  return made.id;
}

export async function newUndo(account: TestAccount, id: string, now = new Date()): Promise<string> {
  const made = await account.db.transaction((tx) => createUndo(tx, BULK_ORIGIN, now, id, request()));
  if (made.kind !== 'created') throw new Error(made.kind);
  return made.id;
}

/** Carries it out as its activities would, without Temporal. */
export async function carryOut(
  account: TestAccount,
  id: string,
  options: { now?: Date; pageRows?: number } = {},
): Promise<BulkUpdate> {
  const { now = new Date(), pageRows = 500 } = options;
  await decideRows(account.db, now, id, pageRows);
  const epoch = await claimBulkUpdate(account.db, id);
  if (epoch !== null) while (await takeNextPage(account.db, now, id, epoch));
  return (await readBulkUpdate(account.db, id))!;
}

/** `<first part of the address>: outcome (refusal) before -> after` of each row, in the order of the addresses. */
export async function shownRows(account: TestAccount, id: string): Promise<string[]> {
  const rows = await account.db.query<Record<string, unknown>>(
    plain(`select split_part(p.email, '@', 1) as name, r.outcome, r.refusal, r.before, r.after
           from bulk_update_row r join prospect p on p.id = r.prospect_id where r.bulk_update_id = $1 order by p.email`),
    [id],
  );
  return rows.map(({ name, outcome, refusal, before, after }) => {
    if (outcome !== 'changed') return `${name}: ${outcome}${refusal === null ? '' : ` (${refusal})`}`;
    return `${name}: ${JSON.stringify(before)} -> ${JSON.stringify(after)}`;
  });
}
