import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SalesforceClient } from '../../adapters/salesforce/client.ts';
import { plain } from '../../db/connection.ts';
import { updateProspect } from '../../db/queries/prospects.ts';
import { changeSalesforceSettings } from '../../db/queries/salesforceSettings.ts';
import type { Origin } from '../../domain/words.ts';
import { FAULT_KINDS, type FaultKind } from '../../tools/salesforce-simulator/faults.ts';
import type { ObjectName } from '../../tools/salesforce-simulator/fields.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { type SyncedAccount, startSynced } from '../support/salesforce.ts';

/*
 * Random edits on both sides, crashes, outages, limits, locks and ended sessions in any order. Once it is quiet, both
 * sides agree, no opt-out was lost, what the person said stands, nothing goes round, and every reading and every push
 * has stayed within its requests.
 */

const PEOPLE = 3;
const LINK: Origin = { way: 'unsubscribe_link', actor: 'recipient', reason: null };

/** Requests at the most: two objects to describe, two to query, a session that ends before each of them. */
const READING_BOUND = 3 * 4;
/** Requests of a push: describing, and for each batch of 200 one query an object, one save, one of the flags alone. */
const PUSH_BOUND = 3 * (2 + 4);

interface Person {
  readonly email: string;
  readonly prospectId: string;
  readonly records: { readonly object: ObjectName; readonly id: string }[];
  /** Whether the last change that somebody made was to Yes. */
  lastSaid: boolean;
  /** Said Yes by link, and took it back in Heed by no means since. */
  saidByLink: boolean;
}

interface Model {
  readonly people: Person[];
}

let account: TestAccount;
let synced: SyncedAccount;
/** Where the process dies: before a collection is sent, or after it was taken and before that was written down. */
let crash: 'before' | 'after' | null = null;
beforeAll(async () => {
  account = await createTestAccount();
  synced = await startSynced(account);
  const { client } = synced.deps;
  (synced as { deps: SyncedAccount['deps'] }).deps = { ...synced.deps };
  Object.assign(client, { save: dying(client.save) });
  await account.db.transaction((tx) =>
    changeSalesforceSettings(tx, ORIGIN, new Date(), {
      mappings: (['Lead', 'Contact'] as const).map((object) => ({
        object,
        salesforceField: 'Title',
        field: 'title',
        direction: 'both' as const,
        empty: 'clear' as const,
      })),
    }),
  );
  await synced.run('full');
});
afterAll(async () => {
  await synced.close();
  await account.close();
});

class Killed extends Error {}

function dying(save: SalesforceClient['save']): SalesforceClient['save'] {
  return async (records) => {
    const when = crash;
    crash = null;
    if (when === 'before') throw new Killed();
    const results = await save(records);
    if (when === 'after') throw new Killed();
    return results;
  };
}

/** Does what may die on the way, and counts its requests. */
async function survives(work: () => Promise<unknown>, bound: number): Promise<void> {
  const before = synced.simulator.traffic.total + synced.simulator.tokens.issued;
  await work().catch((error: unknown) => {
    if (!(error instanceof Killed)) throw error;
  });
  const requests = synced.simulator.traffic.total + synced.simulator.tokens.issued - before;
  expect(requests).toBeLessThanOrEqual(bound);
}

/** Both clocks go on, so that what is done next is later also where a second is the smallest part of time. */
function tick(): void {
  synced.ahead += 2_000;
  synced.simulator.org.clockOffset += 2_000;
}

const org = () => synced.simulator.org;
const rowOf = ({ object, id }: Person['records'][number]) => org().find(object, id)!;
const isWritable = (record: Person['records'][number]) => {
  const row = rowOf(record);
  return row.IsDeleted === false && row.IsConverted !== true;
};

async function baseOf(id: string): Promise<boolean | null> {
  const [row] = await account.db.query<{ base: { optOut?: boolean } }>(
    plain('select base from salesforce_record where id = $1'),
    [id],
  );
  return row?.base.optOut ?? null;
}

type Command = fc.AsyncCommand<Model, object>;

function command(what: string, run: (model: Model) => Promise<void>): Command {
  return {
    check: () => true,
    run: async (model) => {
      tick();
      await run(model);
    },
    toString: () => what,
  };
}

const person = fc.nat({ max: PEOPLE - 1 });
const index = fc.nat({ max: 3 });
const object = fc.constantFrom<ObjectName>('Lead', 'Contact');

function recordOf({ people }: Model, who: number, which: number) {
  const { records } = people[who]!;
  const record = records.length === 0 ? null : records[which % records.length]!;
  // A person who edits it waits until it is free.
  if (record !== null) org().lock(record.id, 0);
  return record;
}

const oursOptOut = fc.tuple(person, fc.boolean(), fc.boolean()).map(([who, value, byLink]) =>
  command(`Heed: person ${who} says ${value}${byLink ? ' by link' : ''}`, async ({ people }) => {
    const one = people[who]!;
    const before = (await synced.flagsOf(one.prospectId)).emailOptOut;
    await synced.flag(one.prospectId, { emailOptOut: value }, byLink ? LINK : ORIGIN);
    // Who says it again by link makes it their own.
    if (value && byLink) one.saidByLink = true;
    if (before === value) return;
    one.lastSaid = value;
    one.saidByLink = value && byLink;
  }),
);

const theirsOptOut = fc.tuple(person, index, fc.boolean()).map(([who, which, value]) =>
  command(`Salesforce: record ${which} of ${who} says ${value}`, async (model) => {
    const record = recordOf(model, who, which);
    if (record === null || !isWritable(record) || rowOf(record).HasOptedOutOfEmail === value) return;
    // What was changed and changed back before anybody read it was never seen: Salesforce keeps no trace of it.
    const isSeen = (await baseOf(record.id)) !== value;
    org().update(record.object, record.id, { HasOptedOutOfEmail: value });
    if (isSeen || !value) model.people[who]!.lastSaid = value;
  }),
);

const created = fc.tuple(person, object, fc.boolean()).map(([who, kind, optedOut]) =>
  command(`Salesforce: a ${kind} of ${who} is created, opted out ${optedOut}`, async ({ people }) => {
    const one = people[who]!;
    if (one.records.length >= 4) return;
    const id = synced.record(kind, one.email, { HasOptedOutOfEmail: optedOut });
    one.records.push({ object: kind, id });
    if (optedOut) one.lastSaid = true;
  }),
);

const removed = fc.tuple(person, index).map(([who, which]) =>
  command(`Salesforce: record ${which} of ${who} is deleted`, async (model) => {
    const record = recordOf(model, who, which);
    if (record !== null && isWritable(record)) org().delete(record.object, record.id);
  }),
);

const restored = fc.tuple(person, index).map(([who, which]) =>
  command(`Salesforce: record ${which} of ${who} is restored`, async (model) => {
    const record = recordOf(model, who, which);
    if (record === null) return;
    const row = rowOf(record);
    if (row.IsDeleted !== true || row.MasterRecordId !== null) return;
    const wasSeen = await account.db.query(
      plain(`select from salesforce_record where id = $1 and state = 'deleted'`),
      [record.id],
    );
    org().undelete(record.object, record.id);
    if (row.HasOptedOutOfEmail === true && wasSeen.length > 0) model.people[who]!.lastSaid = true;
  }),
);

const converted = fc.tuple(person, index).map(([who, which]) =>
  command(`Salesforce: record ${which} of ${who} is converted`, async (model) => {
    const record = recordOf(model, who, which);
    if (record === null || record.object !== 'Lead' || !isWritable(record)) return;
    const optedOut = rowOf(record).HasOptedOutOfEmail === true;
    model.people[who]!.records.push({ object: 'Contact', id: org().convert(record.id) });
    // A new record without a base: its opt-out wins.
    if (optedOut) model.people[who]!.lastSaid = true;
  }),
);

const merged = fc.tuple(person, index, index).map(([who, which, other]) =>
  command(`Salesforce: record ${other} of ${who} is merged into ${which}`, async (model) => {
    const [winner, loser] = [recordOf(model, who, which), recordOf(model, who, other)];
    if (winner === null || loser === null || winner.id === loser.id || winner.object !== loser.object) return;
    if (isWritable(winner) && isWritable(loser)) org().merge(winner.object, winner.id, [loser.id]);
  }),
);

const bounced = fc
  .tuple(person, fc.boolean())
  .map(([who, value]) =>
    command(`Heed: the address of ${who} bounced ${value}`, ({ people }) =>
      synced.flag(people[who]!.prospectId, { bounced: value }),
    ),
  );

const theirsBounced = fc.tuple(person, index, fc.boolean()).map(([who, which, value]) =>
  command(`Salesforce: record ${which} of ${who} bounced ${value}`, async (model) => {
    const record = recordOf(model, who, which);
    if (record === null || !isWritable(record)) return;
    const EmailBouncedDate = value ? new Date().toISOString() : null;
    org().update(record.object, record.id, {
      EmailBouncedReason: value ? 'unknown' : null,
      EmailBouncedDate,
    });
  }),
);

const title = fc.constantFrom('Clerk', 'Owner', 'Head', null);
const oursTitle = fc.tuple(person, title).map(([who, value]) =>
  command(`Heed: ${who} is ${value}`, async ({ people }) => {
    const now = new Date(Date.now() + synced.ahead);
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, now, people[who]!.prospectId, null, {
        fields: { title: value },
      }),
    );
  }),
);
const theirsTitle = fc.tuple(person, index, title).map(([who, which, value]) =>
  command(`Salesforce: record ${which} of ${who} is ${value}`, async (model) => {
    const record = recordOf(model, who, which);
    if (record !== null && isWritable(record)) org().update(record.object, record.id, { Title: value });
  }),
);

const fault = fc
  .tuple(fc.constantFrom<FaultKind>(...FAULT_KINDS), fc.constantFrom('composite', 'queryAll', 'describe', ''))
  .map(([kind, path]) =>
    command(`${kind} at ${path}`, async () => synced.simulator.traffic.add({ kind, path, times: 1 })),
  );
const locked = fc.tuple(person, index).map(([who, which]) =>
  command(`record ${which} of ${who} is locked`, async (model) => {
    const record = recordOf(model, who, which);
    if (record !== null) org().lock(record.id, 1);
  }),
);
const dies = fc.constantFrom('before' as const, 'after' as const).map((when) =>
  command(`the worker dies ${when} the next write`, async () => {
    crash = when;
  }),
);
const limit = fc.boolean().map((reached) =>
  command(`daily limit ${reached ? 'nearly reached' : 'far'}`, async () => {
    const { traffic } = synced.simulator;
    traffic.allowed = reached ? Math.ceil(traffic.used / 0.8) + 2 : 1_000_000;
  }),
);
const expired = fc.constant(command('sessions end', async () => synced.simulator.tokens.expireSessions()));
const later = fc.constantFrom(10, 100, 1_000).map((seconds) =>
  command(`${seconds} s pass`, async () => {
    synced.ahead += seconds * 1_000;
    synced.simulator.org.clockOffset += seconds * 1_000;
  }),
);
const reading = fc.constant(
  command('changes are read', () => survives(() => synced.run('changes'), READING_BOUND)),
);
const pushing = fc.constant(command('the queue is pushed', () => survives(() => synced.push(), PUSH_BOUND)));

/** Everything works again, and two days pass: what a locked row held back on the first is due again on the second. */
async function becomesQuiet(): Promise<void> {
  crash = null;
  const { traffic } = synced.simulator;
  traffic.calm();
  traffic.allowed = 1_000_000;
  for (let day = 0; day < 2; day += 1) {
    synced.ahead += 25 * 3_600_000;
    synced.simulator.org.clockOffset += 25 * 3_600_000;
    await synced.settle();
  }
}

async function judge(model: Model): Promise<void> {
  await becomesQuiet();
  for (const one of model.people) {
    const flags = await synced.flagsOf(one.prospectId);
    const [row] = await account.db.query<{ title: string | null }>(
      plain('select title from prospect where id = $1'),
      [one.prospectId],
    );
    if (one.lastSaid) expect(flags.emailOptOut, 'no opt-out is lost').toBe(true);
    if (one.saidByLink) expect(flags.emailOptOut, 'what the person said stands').toBe(true);
    for (const record of one.records.filter(isWritable)) {
      const theirs = rowOf(record);
      expect(
        {
          emailOptOut: theirs.HasOptedOutOfEmail,
          bounced: theirs.EmailBouncedDate !== null,
          title: theirs.Title,
        },
        'both sides agree',
      ).toEqual({ ...flags, title: row!.title });
      expect(theirs.IsEmailBounced).toBe(theirs.EmailBouncedDate !== null);
    }
  }
  const stamps = () =>
    model.people.flatMap((one) => one.records.map((record) => rowOf(record).SystemModstamp));
  const audited = () => account.db.query(plain('select count(*) from audit_entry'));
  const [stampsBefore, auditedBefore] = [stamps(), await audited()];
  await survives(() => synced.run('changes'), 4);
  await survives(() => synced.run('full'), 4 + 2);
  await survives(() => synced.push(), 0);
  expect([stamps(), await audited()], 'nothing goes round').toEqual([stampsBefore, auditedBefore]);
}

let runs = 0;

test('I3, I4: both sides agree in the end, whatever happens on the way', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.commands(
        [
          oursOptOut,
          oursOptOut,
          theirsOptOut,
          theirsOptOut,
          created,
          created,
          removed,
          restored,
          converted,
          merged,
          bounced,
          theirsBounced,
          oursTitle,
          theirsTitle,
          fault,
          locked,
          dies,
          limit,
          expired,
          later,
          reading,
          reading,
          pushing,
          pushing,
        ],
        { maxCommands: 40 },
      ),
      async (commands) => {
        runs += 1;
        await becomesQuiet();
        const people: Person[] = [];
        for (let n = 0; n < PEOPLE; n += 1) {
          const email = `person${n}.run${runs}@example.com`;
          const { id } = await account.prospect(email);
          people.push({ email, prospectId: id, records: [], lastSaid: false, saidByLink: false });
        }
        const model = { people };
        await fc.asyncModelRun(() => ({ model, real: {} }), commands);
        await judge(model);
      },
    ),
    // The same commands in every run: what a change breaks is seen at once, and nothing else is laid at its door.
    { numRuns: 60, seed: 20_261_126, endOnFailure: false, interruptAfterTimeLimit: 150_000 },
  );
}, 280_000);
