import { v7 as uuidv7 } from 'uuid';
import type { ParsedAddress } from '../../domain/address.ts';
import {
  type FieldProblem,
  type ReadFields,
  readFields,
  type StandardValues,
} from '../../domain/prospectFields.ts';
import type { Origin } from '../../domain/words.ts';
import { plain, type Session, type Transaction } from '../connection.ts';
import { type AddressHasher, ensureAddress, findAddress, reviveAddresses } from './addresses.ts';
import { type AuditFact, addAuditEntries } from './audit.ts';
import { readCustomFields } from './customFields.ts';
import { endEnrollmentsOfProspects } from './enrollmentChanges.ts';
import { FLAG_REASONS, type FlagChange } from './flags.ts';
import { lockAddressesWithProspects, lockProspects, Restart } from './locks.ts';
import { readPersonalReasons } from './personalReasons.ts';
import {
  type AddressState,
  changedFields,
  emptyProspect,
  flagsOf,
  insertProspects,
  type Prospect,
  type ProspectValues,
  readAddressStates,
  readProspects,
  rewriteProspects,
  withFields,
} from './prospectRows.ts';
import { cancelSendsOfProspects } from './sends.ts';
import { addSuppressionsLocked, removeSuppressions } from './suppressions.ts';

export type { Prospect } from './prospectRows.ts';

/** Fields of a prospect as somebody gives them; they are checked here. */
export interface ProspectFieldsInput {
  readonly fields?: StandardValues;
  /** By key; the values are of JSON's types, and checked against the definitions. */
  readonly custom?: Readonly<Record<string, unknown>>;
}

export interface ProspectInput extends ProspectFieldsInput {
  readonly address: ParsedAddress;
  /** Yes is set. No, or nothing, leaves what the address says: creating takes nothing back (I4). */
  readonly emailOptOut?: boolean;
  /** As with `emailOptOut`. */
  readonly bounced?: boolean;
}

/** What is to change; whatever is absent stays, `null` empties a field. */
export interface ProspectPatch extends ProspectFieldsInput, FlagChange {
  readonly address?: ParsedAddress;
}

export type CreatedProspect =
  | { readonly kind: 'created'; readonly prospect: Prospect }
  /** Another prospect has the address: there is one per normalised address. */
  | { readonly kind: 'exists'; readonly prospectId: string }
  | { readonly kind: 'invalid'; readonly problems: readonly FieldProblem[] };

export type UpdatedProspect =
  | { readonly kind: 'updated'; readonly prospect: Prospect }
  | { readonly kind: 'not_found' }
  /** Somebody else changed it meanwhile. */
  | { readonly kind: 'version_conflict'; readonly version: number }
  | { readonly kind: 'exists'; readonly prospectId: string }
  | { readonly kind: 'invalid'; readonly problems: readonly FieldProblem[] };

export type DeletedProspect =
  | { readonly kind: 'deleted' | 'not_found' }
  | { readonly kind: 'version_conflict'; readonly version: number };

/**
 * Creates a prospect. Its flags begin with what its address is suppressed for, so an opt-out or a bounce outlives the
 * prospect that it first came to (I4).
 */
export async function createProspect(
  tx: Transaction,
  hasher: AddressHasher,
  origin: Origin,
  now: Date,
  input: ProspectInput,
): Promise<CreatedProspect> {
  const read = await readInput(tx, input);
  if (read.problems.length > 0) return { kind: 'invalid', problems: read.problems };
  const addressId = await ensureAddress(tx, hasher, now, input.address);
  await lockAddressesWithProspects(tx, [addressId]);
  const address = await stateOf(tx, addressId);
  if (address.prospectId !== null) return { kind: 'exists', prospectId: address.prospectId };
  if (address.erased) await reviveAddresses(tx, hasher, [input.address]);
  const flags = flagsOf(address.reasons);
  const values = {
    ...withFields(emptyProspect(uuidv7()), read),
    addressId,
    email: input.address.given,
    ...flags,
  };
  await insertProspects(tx, now, [values]);
  await addAuditEntries(tx, origin, now, [
    { action: 'prospect.created', prospectId: values.id, addressId, after: flags },
  ]);
  await setWantedFlags(tx, origin, now, values, {
    ...(input.emailOptOut && { emailOptOut: true }),
    ...(input.bounced && { bounced: true }),
  });
  return { kind: 'created', prospect: (await readProspect(tx, values.id))! };
}

/**
 * Changes a prospect. A new address takes the person's opt-outs and complaints along, and leaves Bounced behind with the
 * old one, which keeps all its entries; what is unfinished to the old address is cancelled (I4). Flags are changed after
 * that, on the address that is then current. Another spelling of the same address is no new address.
 *
 * @param expectedVersion the version that the caller has seen, `null` to change whatever there is
 */
export async function updateProspect(
  tx: Transaction,
  hasher: AddressHasher,
  origin: Origin,
  now: Date,
  id: string,
  expectedVersion: number | null,
  patch: ProspectPatch,
): Promise<UpdatedProspect> {
  const seen = await readProspect(tx, id);
  if (seen === null) return { kind: 'not_found' };
  if (isStale(seen, expectedVersion)) return { kind: 'version_conflict', version: seen.version };
  const read = await readInput(tx, patch);
  if (read.problems.length > 0) return { kind: 'invalid', problems: read.problems };
  const addressId = patch.address ? await ensureAddress(tx, hasher, now, patch.address) : seen.addressId;
  await lockAddressesWithProspects(tx, [...new Set([seen.addressId, addressId])], [id]);
  const before = await readProspect(tx, id);
  if (before === null) return { kind: 'not_found' };
  if (isStale(before, expectedVersion)) return { kind: 'version_conflict', version: before.version };
  if (before.addressId !== seen.addressId) throw new Restart('the prospect changed its address meanwhile');
  const address = await stateOf(tx, addressId);
  if (address.prospectId !== null && address.prospectId !== id) {
    return { kind: 'exists', prospectId: address.prospectId };
  }
  if (patch.address && address.erased) await reviveAddresses(tx, hasher, [patch.address]);
  const values = { ...withFields(before, read), email: patch.address?.given ?? before.email };
  await writeFields(tx, origin, now, before, values);
  const current =
    addressId === before.addressId
      ? values
      : await moveToAddress(tx, origin, now, values, { addressId, ...flagsOf(address.reasons) });
  await setWantedFlags(tx, origin, now, current, patch);
  return { kind: 'updated', prospect: (await readProspect(tx, id))! };
}

/**
 * Deletes a prospect: it is found no more and nothing is sent to it. Its row stays for the history, its address and what
 * that is suppressed for stay in force (I4).
 */
export async function deleteProspect(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
  expectedVersion: number | null,
): Promise<DeletedProspect> {
  await lockProspects(tx, [id]);
  const prospect = await readProspect(tx, id);
  if (prospect === null) return { kind: 'not_found' };
  if (isStale(prospect, expectedVersion)) return { kind: 'version_conflict', version: prospect.version };
  await removeProspects(tx, now, [id], null);
  await cancelSendsOfProspects(tx, origin, now, [id], 'prospect_deleted');
  await addAuditEntries(tx, origin, now, [
    { action: 'prospect.deleted', prospectId: id, addressId: prospect.addressId },
  ]);
  return { kind: 'deleted' };
}

const REMOVE = plain(`
  update prospect set deleted_at = $2, updated_at = $2, merged_into = $3, version = version + 1 where id = any($1::uuid[])`);
const LEAVE_LISTS = plain('delete from list_member where prospect_id = any($1::uuid[])');

/** Takes locked prospects away, out of their lists and out of the automations that they are in. */
export async function removeProspects(
  tx: Transaction,
  now: Date,
  ids: readonly string[],
  mergedInto: string | null,
): Promise<void> {
  await Promise.all([tx.query(REMOVE, [ids, now, mergedInto]), tx.query(LEAVE_LISTS, [ids])]);
  await endEnrollmentsOfProspects(tx, now, ids, mergedInto === null ? 'prospect_deleted' : 'merged');
}

/** @returns `null` where there is no such prospect, or it was deleted or merged away */
export async function readProspect(on: Session, id: string): Promise<Prospect | null> {
  const [prospect] = await readProspects(on, [id]);
  return prospect ?? null;
}

const BY_ADDRESS = plain('select id from prospect where address_id = $1 and deleted_at is null');

/** The prospect whose current address it is, however it is spelt. */
export async function findProspectByEmail(
  on: Session,
  hasher: AddressHasher,
  address: ParsedAddress,
): Promise<Prospect | null> {
  const addressId = await findAddress(on, hasher, address);
  if (addressId === null) return null;
  const [row] = await on.query<{ id: string }>(BY_ADDRESS, [addressId]);
  return row === undefined ? null : readProspect(on, row.id);
}

async function readInput(on: Session, input: ProspectFieldsInput): Promise<ReadFields> {
  const given = input.custom !== undefined && Object.keys(input.custom).length > 0;
  return readFields(given ? await readCustomFields(on) : [], input);
}

async function stateOf(tx: Transaction, addressId: string): Promise<AddressState> {
  return (await readAddressStates(tx, [addressId])).get(addressId)!;
}

function isStale(prospect: Prospect, expectedVersion: number | null): boolean {
  return expectedVersion !== null && prospect.version !== expectedVersion;
}

async function writeFields(
  tx: Transaction,
  origin: Origin,
  now: Date,
  before: Prospect,
  after: ProspectValues,
): Promise<void> {
  const changed = changedFields(before, after);
  if (changed.length === 0) return;
  await rewriteProspects(tx, now, [after]);
  // Which fields, never what stands in them: entries outlive the erasing of a person (I6).
  await addAuditEntries(tx, origin, now, [
    {
      action: 'prospect.updated',
      prospectId: after.id,
      addressId: after.addressId,
      after: { fields: changed },
    },
  ]);
}

/** Gives a prospect another address (I4). The caller holds the locks of the prospect and of both addresses. */
async function moveToAddress(
  tx: Transaction,
  origin: Origin,
  now: Date,
  before: ProspectValues,
  to: { addressId: string; emailOptOut: boolean; bounced: boolean },
): Promise<ProspectValues> {
  const taken = await readPersonalReasons(tx, [before.addressId]);
  const after = {
    ...before,
    addressId: to.addressId,
    emailOptOut: before.emailOptOut || to.emailOptOut,
    bounced: to.bounced,
  };
  await rewriteProspects(tx, now, [after]);
  await addAuditEntries(tx, origin, now, [
    {
      action: 'prospect.address_changed',
      prospectId: after.id,
      addressId: after.addressId,
      before: { addressId: before.addressId },
      after: { addressId: after.addressId },
    },
    ...flagFacts(before, after),
  ]);
  await cancelSendsOfProspects(tx, origin, now, [after.id], 'address_changed');
  await addSuppressionsLocked(
    tx,
    origin,
    now,
    taken.map((entry) => ({ ...entry, addressId: after.addressId })),
  );
  return after;
}

function flagFacts(before: ProspectValues, after: ProspectValues): AuditFact[] {
  return (['emailOptOut', 'bounced'] as const)
    .filter((flag) => before[flag] !== after[flag])
    .map((flag) => ({
      action: 'flag.changed',
      prospectId: after.id,
      addressId: after.addressId,
      subject: flag,
      before: before[flag],
      after: after[flag],
    }));
}

async function setWantedFlags(
  tx: Transaction,
  origin: Origin,
  now: Date,
  prospect: ProspectValues,
  wanted: FlagChange,
): Promise<void> {
  const entries = (value: boolean) =>
    // Yes is said again where it holds: it may hold only by a bulk update, which can be undone.
    FLAG_REASONS.filter(([flag]) => wanted[flag] === value && (value || prospect[flag])).map(
      ([, reason]) => ({
        addressId: prospect.addressId,
        reason,
        note: origin.reason,
      }),
    );
  const [add, remove] = [entries(true), entries(false)];
  if (add.length > 0) await addSuppressionsLocked(tx, origin, now, add);
  if (remove.length > 0) await removeSuppressions(tx, origin, now, remove);
}
