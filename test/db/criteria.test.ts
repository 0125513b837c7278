import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import {
  countMatching,
  filterMatching,
  readMatchingPage,
  readProspectFacts,
} from '../../db/queries/criteria.ts';
import { folded, ListsRefused } from '../../db/queries/criteriaSql.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { gate } from '../../db/queries/gate.ts';
import { type AttemptEnd, recordOutcome } from '../../db/queries/outcome.ts';
import { unsubscribe } from '../../db/queries/unsubscribe.ts';
import { type Criteria, parseCriteria } from '../../domain/criteria/criteria.ts';
import { fold } from '../../domain/criteria/fold.ts';
import { matches } from '../../domain/criteria/matches.ts';
import { criteria as anyCriteria, person as anyPerson } from '../domain/criteria/arbitraries.ts';
import { ago, CASES } from '../domain/criteria/cases.ts';
import { CUSTOM_FIELDS, EMAILS, factsOf, LISTS, NOW, type Person } from '../domain/criteria/person.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestSend } from '../support/account.ts';
import { insertRows, place, prepareWorld } from './criteriaWorld.ts';

let account: TestAccount;
beforeAll(async () => {
  account = await createTestAccount();
  await prepareWorld(account.db);
});
afterAll(() => account.close());

function read(json: unknown): Criteria {
  const parsed = parseCriteria(json, CUSTOM_FIELDS);
  if (!parsed.ok) throw new Error(`${JSON.stringify(json)}: ${JSON.stringify(parsed.problems)}`);
  return parsed.criteria;
}

let placed = 0;
async function placeAll(people: readonly Person[]): Promise<string[]> {
  const first = placed;
  placed += people.length;
  return place(account, people, first);
}

/** Those of the ids that the criteria holds for, by each way there is to ask. */
async function byEveryWay(criteria: Criteria, ids: readonly string[], now = NOW) {
  const { db } = account;
  const facts = await readProspectFacts(db, ids, criteria, now);
  const paged = new Set(await pages(criteria, now));
  return {
    filter: ids.filter(inSet(await filterMatching(db, criteria, now, ids))),
    pages: ids.filter(inSet(paged)),
    code: ids.filter((id) => matches(criteria, facts.get(id)!, now)),
    /** Of everybody there is. */
    count: await countMatching(db, criteria, now),
    paged: paged.size,
  };
}

const inSet = (set: ReadonlySet<string>) => (id: string) => set.has(id);

/** In pages so small that there are some. */
async function pages(criteria: Criteria, now: Date): Promise<string[]> {
  const found: string[] = [];
  for (let after: string | null = null; ; after = found.at(-1)!) {
    const page = await readMatchingPage(account.db, criteria, now, after, 90);
    expect(page).toEqual([...new Set(page)].sort());
    found.push(...page);
    if (page.length < 90) return found;
  }
}

describe('criteria in SQL', () => {
  it.each(CASES)('$name', async ({ criteria: json, yes, no }) => {
    const criteria = read(json);
    const ids = await placeAll([...yes, ...no]);
    const found = await byEveryWay(criteria, ids);
    const expected = ids.slice(0, yes.length);
    expect(found).toMatchObject({ filter: expected, pages: expected, code: expected });
    expect(found.count).toBe(found.paged);
  });

  it('folds every code point as the code does', async () => {
    const rows = await account.db.query<{ code: number; folded: string }>(
      plain(`select code, folded from generate_series(1, 1114111) code
        cross join lateral (select ${folded('chr(code)')} as folded) f
        where code not between 55296 and 57343 and folded <> chr(code)`),
    );
    const inSql = new Map(rows.map((row) => [row.code, row.folded]));
    const different: number[] = [];
    for (let code = 1; code <= 0x10ffff; code += 1) {
      if (code >= 0xd800 && code <= 0xdfff) continue;
      const character = String.fromCodePoint(code);
      if (fold(character) !== (inSql.get(code) ?? character)) different.push(code);
    }
    expect(different.map((code) => code.toString(16))).toEqual([]);
    expect(inSql.size).toBeGreaterThan(1000);
  });

  it('asks nothing of prospects that were deleted', async () => {
    const [here, gone] = (await placeAll([{ fields: { state: 'Here' } }, { fields: { state: 'Here' } }])) as [
      string,
      string,
    ];
    await account.db.query(plain('update prospect set deleted_at = now() where id = $1'), [gone]);
    const criteria = read({ field: 'state', operator: 'equals', value: 'here' });
    const { db } = account;
    expect(await countMatching(db, criteria, NOW)).toBe(1);
    expect(await readMatchingPage(db, criteria, NOW, null, 10)).toEqual([here]);
    expect(await filterMatching(db, criteria, NOW, [here, gone])).toEqual(new Set([here]));
    expect([...(await readProspectFacts(db, [here, gone], criteria, NOW)).keys()]).toEqual([here]);
  });

  it('finds in the history what attempts, reports and unsubscribing leave there', async () => {
    const { db } = account;
    const end: AttemptEnd = {
      outcome: 'soft_bounce',
      category: 'mailbox_full',
      faultOurs: false,
      holdsBack: false,
      rule: 'test',
      phase: 'rcpt',
      replyCode: 452,
      enhancedCode: '4.2.2',
      replyText: 'mailbox full',
      remoteHost: 'mx.example.net',
      hintSeconds: null,
      destination: 'relay:test:25',
    };
    const attempt = async (send: TestSend, outcome: AttemptEnd['outcome']) => {
      const decision = await gate(db, { ...send, trigger: 'schedule', now: NOW });
      if (decision.kind !== 'open') throw new Error(`the gate said ${decision.kind}`);
      await recordOutcome(db, send, decision.attempt, { ...end, outcome }, NOW);
    };
    const names = ['full', 'fine', 'dead', 'left', 'refused'] as const;
    const people = await Promise.all(names.map((name) => account.prospect(`history-${name}@example.net`)));
    const [full, fine, dead, left, refused] = await Promise.all(people.map((person) => account.send(person)));
    await attempt(full!, 'soft_bounce');
    await attempt(fine!, 'delivered');
    await attempt(dead!, 'hard_bounce');
    await attempt(left!, 'delivered');
    const way = { way: 'one_click' } as const;
    await db.transaction((tx) => unsubscribe(tx, way, NOW, left!.sendId, { everything: true, listIds: [] }));
    await db.transaction((tx) => setFlags(tx, ORIGIN, NOW, refused!.prospectId, { emailOptOut: true }));
    expect((await gate(db, { ...refused!, trigger: 'schedule', now: NOW })).kind).not.toBe('open');

    const ids = people.map(({ id }) => id);
    const who = async (condition: object) => {
      const { filter, code } = await byEveryWay(read({ happened: true, withinDays: 1, ...condition }), ids);
      expect(code).toEqual(filter);
      return filter.map((id) => names[ids.indexOf(id)]);
    };
    expect(await who({ history: 'sent' })).toEqual(['full', 'fine', 'dead', 'left']);
    expect(await who({ history: 'soft_bounced' })).toEqual(['full']);
    expect(await who({ history: 'delivered' })).toEqual(['fine', 'left']);
    expect(await who({ history: 'hard_bounced' })).toEqual(['dead']);
    expect(await who({ history: 'unsubscribed' })).toEqual(['left']);
  });

  it('takes test sends for nobody’s history, and a smart host that gave up for a soft bounce', async () => {
    const sent: Person = { history: [{ kind: 'delivered', at: ago(1), emailId: EMAILS[0] }] };
    const [tested, gaveUp, delivered] = await placeAll([sent, sent, sent]);
    await account.db.query(plain('update send set test = true where prospect_id = $1'), [tested]);
    await account.db.query(plain(`update send set outcome = 'exhausted' where prospect_id = $1`), [gaveUp]);
    const ids = [tested!, gaveUp!, delivered!];
    const history = (kind: string) => byEveryWay(read({ history: kind, happened: true }), ids);
    expect(await history('delivered')).toMatchObject({ filter: [delivered], code: [delivered] });
    expect(await history('soft_bounced')).toMatchObject({ filter: [gaveUp], code: [gaveUp] });
  });

  it('takes a fault of ours for nobody’s soft bounce', async () => {
    const soft: Person = { history: [{ kind: 'soft_bounced', at: ago(1), emailId: EMAILS[0] }] };
    const sent: Person = { history: [{ kind: 'delivered', at: ago(1), emailId: EMAILS[0] }] };
    const [theirs, ours, oursForDays] = await placeAll([soft, soft, sent]);
    await account.db.query(
      plain(
        `update attempt set fault_ours = true where send_id in (select id from send where prospect_id = $1)`,
      ),
      [ours],
    );
    await account.db.query(
      plain(`update send set outcome = 'exhausted', fault_ours = true where prospect_id = $1`),
      [oursForDays],
    );
    const ids = [theirs!, ours!, oursForDays!];
    expect(await byEveryWay(read({ history: 'soft_bounced', happened: true }), ids)).toMatchObject({
      filter: [theirs],
      code: [theirs],
    });
  });

  it('looks through dynamic lists, whatever they name themselves', async () => {
    const germans = await dynamicList({ field: 'city', operator: 'equals', value: 'Potsdam' });
    const welcome = await dynamicList({
      all: [
        { list: germans, member: true },
        { list: LISTS[0], member: false },
      ],
    });
    const ids = await placeAll([
      { fields: { city: 'Potsdam' } },
      { fields: { city: 'Potsdam' }, lists: [LISTS[0]] },
      { fields: { city: 'Kyoto' } },
    ]);
    const [first, second, third] = ids;
    expect(await byEveryWay(read({ list: welcome, member: true }), ids)).toMatchObject({
      filter: [first],
      pages: [first],
      code: [first],
      count: 1,
    });
    expect(
      await byEveryWay(
        read({
          all: [
            { list: welcome, member: false },
            { field: 'city', operator: 'isNotEmpty' },
          ],
        }),
        ids,
      ),
    ).toMatchObject({ filter: [second, third], pages: [second, third], code: [second, third] });
  });

  it('refuses lists that name each other in a circle', async () => {
    const one = await dynamicList({ all: [] });
    const other = await dynamicList({ list: one, member: true });
    // Past the check that saving makes.
    await account.db.query(plain('update list set criteria = $2 where id = $1'), [
      one,
      JSON.stringify({ list: other, member: false }),
    ]);
    const criteria = read({ list: one, member: true });
    await expect(countMatching(account.db, criteria, NOW)).rejects.toThrow(ListsRefused);
    await expect(readProspectFacts(account.db, [], criteria, NOW)).rejects.toThrow(ListsRefused);
  });

  it('refuses lists that grow beyond measure by naming others again and again', async () => {
    const nothing = { field: 'city', operator: 'isEmpty' };
    let list = await dynamicList({ all: Array(20).fill(nothing) });
    for (let level = 0; level < 5; level += 1) {
      list = await dynamicList({ any: Array(20).fill({ list, member: true }) });
    }
    await expect(countMatching(account.db, read({ list, member: true }), NOW)).rejects.toThrow(ListsRefused);
  });
});

describe('criteria as large as they may be', () => {
  it('work out once what they ask again and again', async () => {
    const again = (condition: object) =>
      dynamicList({ any: Array(250).fill(condition) }).then((list) =>
        read({ any: Array(7).fill({ list, member: true }) }),
      );
    const ids = await placeAll([
      { suppressed: ['manual'], history: [{ kind: 'sent', at: ago(1), emailId: EMAILS[0] }] },
      {
        history: [
          { kind: 'sent', at: ago(1), emailId: EMAILS[0] },
          { kind: 'sent', at: ago(2), emailId: EMAILS[0] },
        ],
      },
    ]);
    const [first, second] = ids;
    for (const [condition, expected] of [
      [{ suppressed: true }, first],
      [{ history: 'sent', happened: true, atLeast: 2 }, second],
    ] as const) {
      const found = await byEveryWay(await again(condition), ids);
      expect(found).toMatchObject({ filter: [expected], pages: [expected], code: [expected] });
      expect(found.count).toBe(found.paged);
    }
  });

  it('count how often something happened in many windows at once', async () => {
    const twice = (days: number): Person => ({
      history: [
        { kind: 'sent', at: ago(days), emailId: EMAILS[1] },
        { kind: 'sent', at: ago(days - 1), emailId: EMAILS[1] },
      ],
    });
    const ids = await placeAll([twice(29), twice(30), { suppressed: ['bounced'] }]);
    const windows = Array.from({ length: 60 }, (_, n) => ({
      history: 'sent',
      happened: true,
      atLeast: 2,
      emailId: EMAILS[1],
      withinDays: 30 - (n % 30),
    }));
    const found = await byEveryWay(read({ any: windows }), ids);
    expect(found).toMatchObject({ filter: [ids[0]], pages: [ids[0]], code: [ids[0]] });
    expect(found.count).toBe(found.paged);
  });

  it('lead from list to list twenty times, and no further', async () => {
    let list = await dynamicList({ field: 'city', operator: 'equals', value: 'At the end' });
    const deeper = async () => {
      let nested: object = { list, member: true };
      for (let level = 0; level < 2; level += 1) nested = { all: [{ none: [{ none: [nested] }] }] };
      list = await dynamicList(nested);
    };
    for (let lists = 1; lists < 20; lists += 1) await deeper();
    const ids = await placeAll([{ fields: { city: 'At the end' } }, {}]);
    const [there] = ids;
    expect(await byEveryWay(read({ list, member: true }), ids)).toMatchObject({
      filter: [there],
      code: [there],
      count: 1,
    });
    await deeper();
    const tooDeep = countMatching(account.db, read({ list, member: true }), NOW);
    await expect(tooDeep).rejects.toMatchObject({ name: 'ListsRefused', kind: 'too_deep' });
  });
});

async function dynamicList(json: unknown): Promise<string> {
  const id = await account.list();
  await account.db.query(plain('update list set criteria = $2 where id = $1'), [
    id,
    JSON.stringify(read(json)),
  ]);
  return id;
}

describe('criteria in SQL and in code', () => {
  it('hold for the same people, whatever is asked of whomever', async () => {
    const world = await createTestAccount();
    try {
      await prepareWorld(world.db);
      const seed = Date.now() % 2 ** 31;
      const people = fc.sample(anyPerson, { numRuns: 250, seed });
      const ids = await place(world, people, 0);
      const dynamic = '019a0000-0000-7000-8400-000000000001';
      const inDynamic = read({
        any: [
          { field: 'bounced', operator: 'equals', value: true },
          { list: LISTS[1], member: true },
          { history: 'sent', happened: true, withinDays: 30 },
        ],
      });
      await insertRows(world.db, 'list', [
        { id: dynamic, name: 'dynamic', private: false, criteria: inDynamic, created_at: NOW },
      ]);
      // At midnight, too, where dates have their edges.
      for (const now of [NOW, new Date('2026-03-02T00:00:00.000Z')]) {
        const facts = people.map((person, number) => {
          const plainly = factsOf(person, number);
          return matches(inDynamic, plainly, now) ? factsOf(person, number, [dynamic]) : plainly;
        });
        let split = 0;
        await fc.assert(
          fc.asyncProperty(anyCriteria([dynamic]), async (json) => {
            const criteria = read(json);
            const expected = ids.filter((_, number) => matches(criteria, facts[number]!, now));
            if (expected.length > 0 && expected.length < ids.length) split += 1;
            const loaded = await readProspectFacts(world.db, ids, criteria, now);
            expect(ids.filter((id) => matches(criteria, loaded.get(id)!, now))).toEqual(expected);
            expect(ids.filter(inSet(await filterMatching(world.db, criteria, now, ids)))).toEqual(expected);
            expect(await countMatching(world.db, criteria, now)).toBe(expected.length);
            expect(await readMatchingPage(world.db, criteria, now, null, 1000)).toEqual(expected.toSorted());
          }),
          { numRuns: 300, seed },
        );
        // Criteria that tell nobody from anybody would prove nothing.
        expect(split).toBeGreaterThan(100);
      }
    } finally {
      await world.close();
    }
  });
});
