import { v7 as uuidv7 } from 'uuid';
import type { ParsedAddress } from '../../domain/address.ts';
import type { ProspectRow, RowProblem, SuppressionRow } from '../../domain/import/rows.ts';
import type { Origin, SuppressionReason } from '../../domain/words.ts';
import { type Database, plain, type Transaction } from '../connection.ts';
import { type AddressHasher, ensureAddresses, reviveAddresses } from './addresses.ts';
import { type AuditFact, addAuditEntries } from './audit.ts';
import { FLAG_REASONS } from './flags.ts';
import { endImport, type ImportState } from './imports.ts';
import { lockAddressesWithProspects } from './locks.ts';
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
import { addDomainSuppressions, addSuppressionsLocked, type SuppressionEntry } from './suppressions.ts';

/** The next rows of a file, in its order, and where they stand in it. */
export type ImportPage = {
  readonly importId: string;
  /** Bytes before the page and before what follows it. */
  readonly from: number;
  readonly to: number;
  /** Line that follows the page. */
  readonly nextLine: number;
  readonly isLast: boolean;
} & (
  | { readonly kind: 'prospects'; readonly rows: readonly ProspectRow[] }
  | { readonly kind: 'suppressions'; readonly rows: readonly SuppressionRow[] }
);

/** What became of the rows of a page. */
interface Counts {
  created: number;
  updated: number;
  unchanged: number;
  rejected: number;
  optOuts: number;
}

const LOCK = plain('select state, cursor_bytes, actor from import_job where id = $1 for update');
const ADVANCE = plain(`
  update import_job set state = 'running', cursor_bytes = $2, cursor_line = $3, rows = rows + $4, created = created + $5,
    updated = updated + $6, unchanged = unchanged + $7, rejected = rejected + $8, opt_outs = opt_outs + $9
  where id = $1`);
// Several problems of one cell, or of a line that was read in pieces, are one.
const ADD_PROBLEMS = plain(`
  insert into import_problem (import_id, line, "column", code, message)
  select $1, p.line, p.column, p.code, p.message
  from jsonb_to_recordset($2::jsonb) as p(line bigint, "column" text, code text, message text)
  on conflict do nothing`);

/** `over`: the import was cancelled, or had ended. `superseded`: somebody else took the page in. */
export type TakenPage = 'taken' | 'over' | 'superseded';

/**
 * Takes in a page: its rows, what they change, their problems, the counts and the place to go on from are one
 * transaction, so that no row is taken twice and none is lost, wherever the process dies (I7). The last page ends the
 * import.
 */
export async function takeInPage(
  db: Database,
  hasher: AddressHasher,
  now: Date,
  page: ImportPage,
): Promise<TakenPage> {
  return db.transaction(async (tx) => {
    const [job] = await tx.query<{ state: ImportState; cursor_bytes: string; actor: string }>(LOCK, [
      page.importId,
    ]);
    if (job?.state !== 'queued' && job?.state !== 'running') return 'over';
    if (Number(job.cursor_bytes) !== page.from) return 'superseded';
    const origin: Origin = { way: 'import', actor: job.actor, reason: `import:${page.importId}` };
    const counts =
      page.kind === 'prospects'
        ? await takeInProspects(tx, hasher, origin, now, page.rows)
        : await takeInSuppressions(tx, hasher, origin, now, page.rows);
    const problems = page.rows.flatMap((row): readonly RowProblem[] => row.problems);
    if (problems.length > 0) await tx.query(ADD_PROBLEMS, [page.importId, JSON.stringify(problems)]);
    await tx.query(ADVANCE, [
      page.importId,
      page.to,
      page.nextLine,
      page.rows.length,
      counts.created,
      counts.updated,
      counts.unchanged,
      counts.rejected,
      counts.optOuts,
    ]);
    if (page.isLast) await endImport(tx, now, page.importId, 'done', null);
    return 'taken';
  });
}

/** Addresses of a page, locked with their prospects, as they are and with what the page adds to them. */
class PageAddresses {
  readonly states: ReadonlyMap<string, AddressState>;
  readonly #ids: ReadonlyMap<string, string>;
  readonly #held: Set<string>;
  /** What holds only by a bulk update, which can be undone, and that this file says too. */
  readonly #unsaid: Set<string>;
  readonly entries: SuppressionEntry[] = [];
  optOuts = 0;

  private constructor(ids: ReadonlyMap<string, string>, states: ReadonlyMap<string, AddressState>) {
    this.#ids = ids;
    this.states = states;
    const keys = (reasonsOf: (state: AddressState) => readonly SuppressionReason[]) =>
      new Set(
        [...states.values()].flatMap((state) =>
          reasonsOf(state).map((reason) => `${state.addressId} ${reason}`),
        ),
      );
    this.#held = keys((state) => state.reasons);
    this.#unsaid = keys((state) => state.bulkReasons);
  }

  static async lock(
    tx: Transaction,
    hasher: AddressHasher,
    now: Date,
    addresses: readonly ParsedAddress[],
  ): Promise<PageAddresses> {
    const ids = await ensureAddresses(tx, hasher, now, addresses);
    const all = [...ids.values()];
    await lockAddressesWithProspects(tx, all);
    const states = await readAddressStates(tx, all);
    const erased = addresses.filter((address) => states.get(ids.get(address.comparisonForm)!)?.erased);
    if (erased.length > 0) await reviveAddresses(tx, hasher, erased);
    return new PageAddresses(ids, states);
  }

  idOf(address: ParsedAddress): string {
    return this.#ids.get(address.comparisonForm)!;
  }

  /** @returns false where the reason holds already */
  suppress(addressId: string, reason: SuppressionReason, note: string | null): boolean {
    const key = `${addressId} ${reason}`;
    const isNew = !this.#held.has(key);
    if (isNew || this.#unsaid.delete(key)) this.entries.push({ addressId, reason, note });
    this.#held.add(key);
    if (isNew && reason === 'opt_out') this.optOuts += 1;
    return isNew;
  }
}

/**
 * Takes rows of prospects as if one after the other: the non-empty cells of a later row win over those of an earlier one
 * and of what is there. Flags are set and never cleared, also those of a bad row with a readable address (I4).
 */
async function takeInProspects(
  tx: Transaction,
  hasher: AddressHasher,
  origin: Origin,
  now: Date,
  rows: readonly ProspectRow[],
): Promise<Counts> {
  const counts: Counts = { created: 0, updated: 0, unchanged: 0, rejected: 0, optOuts: 0 };
  const met = rows.filter((row) => row.problems.length === 0 || row.emailOptOut || row.bounced);
  const addresses = await PageAddresses.lock(
    tx,
    hasher,
    now,
    met.flatMap((row) => row.address ?? []),
  );
  const prospectIds = [...addresses.states.values()].flatMap((state) => state.prospectId ?? []);
  const before = new Map((await readProspects(tx, prospectIds)).map((each) => [each.addressId, each]));
  const after = new Map<string, ProspectValues>(before);

  for (const row of rows) {
    const isBad = row.problems.length > 0;
    if (isBad) counts.rejected += 1;
    if (row.address === null || (isBad && !row.emailOptOut && !row.bounced)) continue;
    const addressId = addresses.idOf(row.address);
    let flagged = false;
    for (const [flag, reason] of FLAG_REASONS) {
      if (row[flag] && addresses.suppress(addressId, reason, null)) flagged = true;
    }
    if (isBad) continue;
    const known = after.get(addressId);
    const values = withFields(known ?? newProspect(row.address, addresses.states.get(addressId)!), row);
    after.set(addressId, values);
    if (known === undefined) counts.created += 1;
    else if (flagged || changedFields(known, values).length > 0) counts.updated += 1;
    else counts.unchanged += 1;
  }

  await writeProspects(tx, origin, now, before, [...after.values()]);
  await addSuppressionsLocked(tx, origin, now, addresses.entries);
  return { ...counts, optOuts: addresses.optOuts };
}

function newProspect(address: ParsedAddress, state: AddressState): ProspectValues {
  return {
    ...emptyProspect(uuidv7()),
    addressId: state.addressId,
    email: address.given,
    ...flagsOf(state.reasons),
  };
}

async function writeProspects(
  tx: Transaction,
  origin: Origin,
  now: Date,
  before: ReadonlyMap<string, Prospect>,
  after: readonly ProspectValues[],
): Promise<void> {
  const created: ProspectValues[] = [];
  const changed: ProspectValues[] = [];
  const facts: AuditFact[] = [];
  for (const prospect of after) {
    const known = before.get(prospect.addressId);
    const subject = { prospectId: prospect.id, addressId: prospect.addressId };
    if (known === undefined) {
      created.push(prospect);
      const { emailOptOut, bounced } = prospect;
      facts.push({ action: 'prospect.created', ...subject, after: { emailOptOut, bounced } });
      continue;
    }
    const fields = changedFields(known, prospect);
    if (fields.length === 0) continue;
    changed.push(prospect);
    facts.push({ action: 'prospect.updated', ...subject, after: { fields } });
  }
  await Promise.all([
    insertProspects(tx, now, created),
    rewriteProspects(tx, now, changed),
    addAuditEntries(tx, origin, now, facts),
  ]);
}

/** Takes rows of suppressions; a readable address is suppressed though the rest of its row is bad. */
async function takeInSuppressions(
  tx: Transaction,
  hasher: AddressHasher,
  origin: Origin,
  now: Date,
  rows: readonly SuppressionRow[],
): Promise<Counts> {
  const counts: Counts = { created: 0, updated: 0, unchanged: 0, rejected: 0, optOuts: 0 };
  const domains = new Map<string, string | null>();
  for (const row of rows) {
    if (row.problems.length === 0 && row.domain !== null && !domains.has(row.domain)) {
      domains.set(row.domain, row.note);
    }
  }
  const newDomains = new Set(
    await addDomainSuppressions(
      tx,
      origin,
      now,
      [...domains].map(([domain, note]) => ({ domain, note })),
    ),
  );
  const addresses = await PageAddresses.lock(
    tx,
    hasher,
    now,
    rows.flatMap((row) => row.address ?? []),
  );
  for (const row of rows) {
    const isNew =
      row.address === null
        ? row.domain !== null && newDomains.delete(row.domain)
        : addresses.suppress(addresses.idOf(row.address), row.reason, row.note);
    if (row.problems.length > 0) counts.rejected += 1;
    else if (isNew) counts.created += 1;
    else counts.unchanged += 1;
  }
  await addSuppressionsLocked(tx, origin, now, addresses.entries);
  return { ...counts, optOuts: addresses.optOuts };
}
