import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { ensureAddress, findAddress } from '../../db/queries/addresses.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { eraseProspect } from '../../db/queries/prospectErase.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { createProspect, deleteProspect, updateProspect } from '../../db/queries/prospects.ts';
import { addSuppressions, removeSuppressions } from '../../db/queries/suppressions.ts';
import type { SuppressionReason } from '../../domain/words.ts';
import { createTestAccount, ORIGIN, parsed, type TestAccount } from '../support/account.ts';

let account: TestAccount;
beforeAll(async () => {
  account = await createTestAccount();
});
afterAll(() => account.close());

const NOW = new Date('2026-03-02T10:00:00Z');
const ADDRESSES = 4;

type Flag = 'emailOptOut' | 'bounced';
const REASON_OF = { emailOptOut: 'opt_out', bounced: 'bounced' } as const;

/** What is to be done, to places: a place is an address, and the person who has it is meant. */
type Step =
  | { do: 'create'; at: number; optOut: boolean; bounced: boolean }
  | { do: 'move'; at: number; to: number }
  | { do: 'delete' | 'erase'; at: number }
  | { do: 'merge'; at: number; loser: number }
  | { do: 'flag'; at: number; flag: Flag; value: boolean; by: 'flags' | 'update' }
  | { do: 'suppress' | 'unsuppress'; at: number; reason: SuppressionReason };

const place = fc.nat({ max: ADDRESSES - 1 });
const reason = fc.constantFrom<SuppressionReason>('opt_out', 'bounced', 'complaint', 'manual');
const step = fc.oneof<fc.Arbitrary<Step>[]>(
  fc.record({ do: fc.constant('create'), at: place, optOut: fc.boolean(), bounced: fc.boolean() }),
  fc.record({ do: fc.constant('move'), at: place, to: place }),
  fc.record({ do: fc.constantFrom('delete', 'erase'), at: place }),
  fc.record({ do: fc.constant('merge'), at: place, loser: place }),
  fc.record({
    do: fc.constant('flag'),
    at: place,
    flag: fc.constantFrom<Flag>('emailOptOut', 'bounced'),
    value: fc.boolean(),
    by: fc.constantFrom('flags', 'update'),
  }),
  fc.record({ do: fc.constantFrom('suppress', 'unsuppress'), at: place, reason }),
);

/** The rules in a few lines: reasons stand on addresses, flags are read off them. */
class Model {
  readonly reasons = Array.from({ length: ADDRESSES }, () => new Set<SuppressionReason>());
  /** Who has the address now. */
  readonly people: (number | null)[] = Array(ADDRESSES).fill(null);
  #nextPerson = 0;

  apply(step: Step): void {
    const person = this.people[step.at]!;
    switch (step.do) {
      case 'create':
        if (person !== null) return;
        this.people[step.at] = this.#nextPerson++;
        if (step.optOut) this.reasons[step.at]!.add('opt_out');
        if (step.bounced) this.reasons[step.at]!.add('bounced');
        return;
      case 'move':
        if (person === null || step.to === step.at || this.people[step.to] !== null) return;
        this.people[step.to] = person;
        this.people[step.at] = null;
        this.#takeAlong(step.at, step.to);
        return;
      case 'delete':
      case 'erase':
        this.people[step.at] = null;
        return;
      case 'merge':
        if (person === null || step.loser === step.at || this.people[step.loser] === null) return;
        this.people[step.loser] = null;
        this.#takeAlong(step.loser, step.at);
        this.#takeAlong(step.at, step.loser);
        return;
      case 'flag':
        if (person === null) return;
        if (step.value) this.reasons[step.at]!.add(REASON_OF[step.flag]);
        else this.reasons[step.at]!.delete(REASON_OF[step.flag]);
        return;
      case 'suppress':
        this.reasons[step.at]!.add(step.reason);
        return;
      case 'unsuppress':
        this.reasons[step.at]!.delete(step.reason);
    }
  }

  #takeAlong(from: number, to: number): void {
    for (const reason of ['opt_out', 'complaint'] as const) {
      if (this.reasons[from]!.has(reason)) this.reasons[to]!.add(reason);
    }
  }
}

let runs = 0;

/** The same steps on the database, with addresses of their own. */
class Real {
  readonly #run = runs++;
  readonly emails = Array.from({ length: ADDRESSES }, (_, index) =>
    parsed(`a${index}@run${this.#run}.example`),
  );

  async #personAt(at: number): Promise<string | null> {
    const addressId = await findAddress(account.db, account.hasher, this.emails[at]!);
    const [row] = await account.db.query<{ id: string }>(
      plain('select id from prospect where address_id = $1 and deleted_at is null'),
      [addressId],
    );
    return row?.id ?? null;
  }

  async apply(step: Step): Promise<void> {
    const { db, hasher } = account;
    const id = await this.#personAt(step.at);
    const other = step.do === 'merge' ? await this.#personAt(step.loser) : null;
    await db.transaction(async (tx): Promise<unknown> => {
      if (step.do === 'create') {
        const flags = { emailOptOut: step.optOut, bounced: step.bounced };
        return createProspect(tx, hasher, ORIGIN, NOW, { address: this.emails[step.at]!, ...flags });
      }
      if (step.do === 'suppress' || step.do === 'unsuppress') {
        const addressId = await ensureAddress(tx, hasher, NOW, this.emails[step.at]!);
        const change = step.do === 'suppress' ? addSuppressions : removeSuppressions;
        return change(tx, ORIGIN, NOW, [{ addressId, reason: step.reason }]);
      }
      if (id === null) return;
      switch (step.do) {
        case 'move':
          return updateProspect(tx, hasher, ORIGIN, NOW, id, null, { address: this.emails[step.to]! });
        case 'delete':
          return deleteProspect(tx, ORIGIN, NOW, id, null);
        case 'erase':
          return eraseProspect(tx, ORIGIN, NOW, id);
        case 'merge':
          return other && mergeProspects(tx, ORIGIN, NOW, id, other);
        case 'flag': {
          const change = { [step.flag]: step.value };
          return step.by === 'flags'
            ? setFlags(tx, ORIGIN, NOW, id, change)
            : updateProspect(tx, hasher, ORIGIN, NOW, id, null, change);
        }
      }
    });
  }

  async state() {
    const rows = await account.db.query<{
      id: string | null;
      email_opt_out: boolean | null;
      bounced: boolean | null;
      reasons: SuppressionReason[];
    }>(
      plain(`
        select p.id, p.email_opt_out, p.bounced,
          array(select reason from suppression s where s.address_id = a.id order by reason) as reasons
        from unnest($1::bytea[]) with ordinality as given(hash, n) left join address a on a.hash = given.hash
          left join prospect p on p.address_id = a.id and p.deleted_at is null order by n`),
      [this.emails.map((email) => account.hasher.hash(email.comparisonForm))],
    );
    return rows;
  }
}

interface FlagEntry extends Record<string, unknown> {
  prospect_id: string;
  action: string;
  subject: Flag | null;
  before: unknown;
  after: unknown;
}

/** I6: every flag begins with what the creation says, each change follows on the one before, and the last is what holds. */
async function expectCompleteAudit(prospectId: string, flags: Record<Flag, boolean>): Promise<void> {
  const entries = await account.db.query<FlagEntry>(
    plain(`select prospect_id, action, subject, before, after from audit_entry
           where prospect_id = $1 and action in ('prospect.created', 'flag.changed') order by id`),
    [prospectId],
  );
  expect(entries[0]!.action).toBe('prospect.created');
  const held = { ...(entries[0]!.after as Record<Flag, boolean>) };
  for (const entry of entries.slice(1)) {
    expect(entry.before).toBe(held[entry.subject!]);
    expect(entry.after).toBe(!entry.before);
    held[entry.subject!] = entry.after as boolean;
  }
  expect(held).toEqual(flags);
}

describe('flags and addresses, whatever is done in whatever order', () => {
  it('I3, I4, I6: are as the rules say: Bounced is what the address holds, no opt-out is lost, every change is written down', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
        const [model, real] = [new Model(), new Real()];
        for (const step of steps) {
          model.apply(step);
          await real.apply(step);
          const state = await real.state();
          expect(state.map((row) => new Set(row.reasons))).toEqual(model.reasons);
          expect(state.map((row) => row.id !== null)).toEqual(model.people.map((person) => person !== null));
          for (const row of state) {
            if (row.id === null) continue;
            expect(row.bounced).toBe(row.reasons.includes('bounced'));
            expect(row.email_opt_out).toBe(row.reasons.includes('opt_out'));
          }
        }
        for (const row of await real.state()) {
          if (row.id === null) continue;
          await expectCompleteAudit(row.id, { emailOptOut: row.email_opt_out!, bounced: row.bounced! });
        }
      }),
      { numRuns: 60 },
    );
  }, 240_000);
});
