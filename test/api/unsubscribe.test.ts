import { connect } from 'node:net';
import fc from 'fast-check';
import { Hono } from 'hono';
import PostalMime from 'postal-mime';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import { createUnsubscribeTokens } from '../../adapters/tokens/unsubscribeTokens.ts';
import { createApp } from '../../api/app.ts';
import type { ApiDeps, ApiEnv } from '../../api/context.ts';
import { unsubscribePages } from '../../api/public/unsubscribe.ts';
import { type RunningServer, serveApi } from '../../api/server.ts';
import { openDatabase, plain } from '../../db/connection.ts';
import { gate } from '../../db/queries/gate.ts';
import { addListMembers } from '../../db/queries/lists.ts';
import { eraseProspect } from '../../db/queries/prospectErase.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { createProspect, deleteProspect, updateProspect } from '../../db/queries/prospects.ts';
import { createSend, loadSendToAttempt } from '../../db/queries/sends.ts';
import { addSuppressions } from '../../db/queries/suppressions.ts';
import { unsubscribeInOneStep } from '../../db/queries/unsubscribe.ts';
import { en } from '../../domain/messages/en.ts';
import type { SuppressionReason } from '../../domain/words.ts';
import {
  createTestAccount,
  ORIGIN,
  parsed,
  type TestAccount,
  type TestProspect,
} from '../support/account.ts';
import { testTokens, testUnsubscribing } from '../support/unsubscribing.ts';

let account: TestAccount;
let deps: ApiDeps;
let server: RunningServer;
let root: string;
const logged: unknown[] = [];

beforeAll(async () => {
  account = await createTestAccount({ poolSize: 20 });
  deps = {
    db: account.db,
    hasher: account.hasher,
    tokens: testTokens,
    webhooks: [],
    config: { messageIdDomain: 'heed.test', maxImportBytes: 1024, publicUrl: 'https://heed.test' },
    temporal: { uiLinkOf: () => null, ready: async () => true },
    salesforce: null,
    log: {
      info: (...entry) => logged.push(entry),
      error: (...entry) => logged.push(entry),
    },
    now: () => new Date(),
  };
  server = await serveApi(createApp(deps), '127.0.0.1', 0);
  root = `http://127.0.0.1:${server.port}`;
});
afterAll(async () => {
  await server?.stop();
  await account?.close();
});

const ONE_CLICK = 'List-Unsubscribe=One-Click';
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const link = (sendId: string) => `/u/${testTokens.issue('link', sendId)}`;

function post(path: string, body: string, headers: Record<string, string> = FORM): Promise<Response> {
  return fetch(root + path, { method: 'POST', body, headers, redirect: 'manual' });
}

let people = 0;
const someone = (): Promise<TestProspect> => account.prospect(`person${++people}@example.com`);

async function rows(sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  return account.db.query(plain(sql), values);
}

/** What the address is suppressed for, e.g. `opt_out`, `opt_out@<list>`. */
async function reasonsOf(addressId: string): Promise<string[]> {
  const found = await rows('select reason, list_id from suppression where address_id = $1', [addressId]);
  return found.map(({ reason, list_id }) => (list_id ? `${reason}@${list_id}` : `${reason}`)).sort();
}

async function flagsOf(prospectId: string): Promise<unknown> {
  const [row] = await rows('select email_opt_out, bounced from prospect where id = $1', [prospectId]);
  return { optOut: row?.email_opt_out, bounced: row?.bounced };
}

/** Everything that could be changed, of everybody. */
async function everything(): Promise<unknown> {
  const tables = await Promise.all(
    ['suppression', 'prospect', 'audit_entry', 'outbox', 'send', 'list_member', 'address'].map((table) =>
      rows(`select md5(string_agg(t::text, '|' order by t::text)) as digest from ${table} t`),
    ),
  );
  return tables.flat();
}

function auditOf(addressId: string) {
  return rows(
    `select action, way, actor, subject, send_id, before, after from audit_entry
     where address_id = $1 and action in ('flag.changed', 'suppression.added', 'suppression.removed') order by id`,
    [addressId],
  );
}

const suppress = (addressId: string, reason: SuppressionReason, listId: string | null = null) =>
  account.db.transaction((tx) => addSuppressions(tx, ORIGIN, new Date(), [{ addressId, reason, listId }]));

describe('one click (RFC 8058)', () => {
  test.each([
    ['URL-encoded', ONE_CLICK, FORM],
    [
      'multipart',
      `--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n`,
      { 'content-type': 'multipart/form-data; boundary=x' },
    ],
    ['of no type', ONE_CLICK, { 'content-type': '' }],
    ['of a wrong type and letter case', 'list-unsubscribe=ONE-CLICK', { 'content-type': 'text/plain' }],
    ['with a cookie and a key of somebody', ONE_CLICK, { ...FORM, cookie: 'a=b', authorization: 'Bearer x' }],
  ])(
    'a body %s unsubscribes, with 200, no redirect and no cookie, again and again',
    async (_, body, headers) => {
      const person = await someone();
      const { sendId } = await account.send(person);
      for (const _again of [1, 2, 3]) {
        const answer = await post(link(sendId), body, headers);
        expect(answer.status).toBe(200);
        expect(answer.headers.get('location')).toBeNull();
        expect(answer.headers.get('set-cookie')).toBeNull();
        expect((await answer.text()).trim()).toBe(en.oneClick);
      }
      expect(await reasonsOf(person.addressId)).toEqual(['opt_out']);
      expect(await flagsOf(person.id)).toEqual({ optOut: true, bounced: false });
    },
  );

  test('I6: the audit trail says that it was one-click, by the recipient, from which send; once', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    await post(link(sendId), ONE_CLICK);
    await post(link(sendId), ONE_CLICK);
    const common = { way: 'one_click', actor: 'recipient', send_id: sendId };
    expect(await auditOf(person.addressId)).toMatchObject([
      { ...common, action: 'suppression.added', subject: 'opt_out', after: { reason: 'opt_out' } },
      { ...common, action: 'flag.changed', subject: 'emailOptOut', before: false, after: true },
    ]);
  });

  test('fifty at once make one change', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    const answers = await Promise.all(Array.from({ length: 50 }, () => post(link(sendId), ONE_CLICK)));
    expect(answers.map((answer) => answer.status)).toEqual(Array(50).fill(200));
    expect(await auditOf(person.addressId)).toHaveLength(2);
    const [row] = await rows('select version from prospect where id = $1', [person.id]);
    expect(row!.version).toBe(2);
  });

  test('I1: the gate refuses from then on, waiting sends end at once and their workflows are told', async () => {
    const person = await someone();
    const [read, waiting, attempting, transactional] = await Promise.all([
      account.send(person),
      account.send(person),
      account.send(person),
      account.send(person, { emailId: await account.email('transactional') }),
    ]);
    await rows(
      `update send set state = 'waiting', next_attempt_at = now() + interval '2 days' where id = $1`,
      [waiting.sendId],
    );
    const request = { trigger: 'schedule', now: new Date() } as const;
    expect((await gate(account.db, { ...attempting, ...request })).kind).toBe('open');

    expect((await post(link(read.sendId), ONE_CLICK)).status).toBe(200);

    const states = await rows('select id, state, outcome from send where prospect_id = $1', [person.id]);
    const stateOf = (id: string) => states.find((row) => row.id === id);
    for (const { sendId } of [read, waiting, transactional]) {
      expect(stateOf(sendId)).toMatchObject({ state: 'final', outcome: 'suppressed' });
      const told = await rows('select message from outbox where aggregate = $1', [`send:${sendId}`]);
      expect(told.at(-1)!.message).toMatchObject({ type: 'endSend', sendId, outcome: 'suppressed' });
    }
    expect(stateOf(attempting.sendId)).toMatchObject({ state: 'attempting' });
    const later = await account.send(person);
    expect(await gate(account.db, { ...later, ...request })).toMatchObject({
      kind: 'refused',
      outcome: 'suppressed',
      reason: 'prospect:opt_out address:opt_out',
    });
  });

  test('the setting makes it the list that the email was sent to; mail to no list is from everything all the same', async () => {
    await account.setting({ one_click_scope: 'list' });
    try {
      const listId = await account.list();
      const [person, other] = [await someone(), await someone()];
      const toList = await account.send(person, { listId });
      const toNone = await account.send(other);
      await post(link(toList.sendId), ONE_CLICK);
      await post(link(toNone.sendId), ONE_CLICK);
      expect(await reasonsOf(person.addressId)).toEqual([`opt_out@${listId}`]);
      expect(await flagsOf(person.id)).toEqual({ optOut: false, bounced: false });
      expect(await reasonsOf(other.addressId)).toEqual(['opt_out']);
      const request = { trigger: 'schedule', now: new Date() } as const;
      const again = await account.send(person, { listId });
      expect(await gate(account.db, { ...again, ...request })).toMatchObject({
        kind: 'refused',
        reason: 'list:opt_out',
      });
      expect(await gate(account.db, { ...(await account.send(person)), ...request })).toMatchObject({
        kind: 'open',
      });
    } finally {
      await account.setting({ one_click_scope: 'everything' });
    }
  });
});

describe('from the email to the page', () => {
  test('the one-click address and the link of a message that was made for a send are those that work', async () => {
    const person = await someone();
    const listId = await account.list();
    const { sendId } = await account.send(person, { listId });
    const composed = await createEmailComposer(testUnsubscribing).compose(
      (await loadSendToAttempt(account.db, sendId))!,
    );
    if (!composed.ok) throw new Error(composed.problem);
    const message = await PostalMime.parse(composed.message.content as Buffer);
    const header = (name: string) => message.headers.find(({ key }) => key === name)?.value ?? '';
    expect(header('list-id')).toBe(`<${listId}.heed.test>`);
    const address = new URL(/<(https:[^>]+)>/.exec(header('list-unsubscribe'))![1]!);
    expect(message.text).toContain(`Unsubscribe: ${address}`);
    expect((await fetch(root + address.pathname)).status).toBe(200);
    const answer = await post(address.pathname, header('list-unsubscribe-post'));
    expect(answer.status).toBe(200);
    expect(await reasonsOf(person.addressId)).toEqual(['opt_out']);
  });
});

describe('GET and HEAD', () => {
  test('change nothing, whatever a scanner follows', async () => {
    const person = await someone();
    const listId = await account.list();
    const { sendId } = await account.send(person, { listId });
    await suppress(person.addressId, 'opt_out', listId);
    const before = await everything();
    const paths = ['', '/take-back', `?${ONE_CLICK}`, '?everything=yes', `/take-back?list=${listId}`];
    for (const path of paths) {
      for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'PATCH', 'DELETE']) {
        const answer = await fetch(root + link(sendId) + path, {
          method,
          ...(method.startsWith('P') && { body: ONE_CLICK }),
        });
        expect(answer.status, `${method} ${path}`).toBe(method === 'GET' || method === 'HEAD' ? 200 : 405);
        const body = await answer.text();
        if (method === 'HEAD') expect(body).toBe('');
        if (answer.status === 405) expect(answer.headers.get('allow')).toBe('GET, HEAD, POST');
      }
    }
    expect(await everything()).toEqual(before);
  });
});

/* Every combination of what holds and what is asked for, against a model of one line each. */
describe('state × action', () => {
  const STATES: readonly (readonly (SuppressionReason | 'list')[])[] = [
    [],
    ['opt_out'],
    ['list'],
    ['opt_out', 'list'],
    ['bounced'],
    ['complaint'],
    ['manual'],
    ['opt_out', 'bounced', 'complaint', 'manual', 'list'],
    ['bounced', 'list'],
  ];
  type Model = (held: ReadonlySet<string>) => readonly [status: number, after: ReadonlySet<string>];
  const plus = (held: ReadonlySet<string>, what: string) => new Set([...held, what]);
  const minus = (held: ReadonlySet<string>, what: string) => new Set([...held].filter((one) => one !== what));
  const ACTIONS: Readonly<
    Record<string, [path: string, body: (listId: string) => string, way: string, Model]>
  > = {
    'one-click': ['', () => ONE_CLICK, 'one_click', (held) => [200, plus(held, 'opt_out')]],
    everything: ['', () => 'everything=yes', 'unsubscribe_link', (held) => [200, plus(held, 'opt_out')]],
    list: ['', (id) => `list=${id}`, 'unsubscribe_link', (held) => [200, plus(held, 'list')]],
    'no choice': ['', () => '', 'unsubscribe_link', (held) => [400, held]],
    nonsense: ['', () => 'everything=yes&x=1', 'unsubscribe_link', (held) => [400, held]],
    'everything back': [
      '/take-back',
      () => 'everything=yes',
      'unsubscribe_link',
      (held) => (held.has('opt_out') ? [200, minus(held, 'opt_out')] : [400, held]),
    ],
    'list back': [
      '/take-back',
      (id) => `list=${id}`,
      'unsubscribe_link',
      (held) => (held.has('list') && !held.has('opt_out') ? [200, minus(held, 'list')] : [400, held]),
    ],
    'one-click at the second step': ['/take-back', () => ONE_CLICK, 'one_click', (held) => [400, held]],
  };
  const cases = STATES.flatMap((state) =>
    Object.keys(ACTIONS).map((action) => [state.join('+') || 'nothing', action, state] as const),
  );

  test.each(cases)('I3: %s holds, %s is asked for', async (_, action, state) => {
    const [path, body, way, model] = ACTIONS[action]!;
    const person = await someone();
    const listId = await account.list();
    const { sendId } = await account.send(person, { listId });
    for (const reason of state) {
      await (reason === 'list'
        ? suppress(person.addressId, 'opt_out', listId)
        : suppress(person.addressId, reason));
    }
    const untouched = (await auditOf(person.addressId)).length;
    const held = new Set<string>(state);

    const answer = await post(link(sendId) + path, body(listId));

    const [status, after] = model(held);
    expect(answer.status).toBe(status);
    expect(await reasonsOf(person.addressId)).toEqual(
      [...after].map((one) => (one === 'list' ? `opt_out@${listId}` : one)).sort(),
    );
    expect(await flagsOf(person.id)).toEqual({ optOut: after.has('opt_out'), bounced: after.has('bounced') });
    const entries = (await auditOf(person.addressId)).slice(untouched);
    const changed = after.size !== held.size;
    const flagged = after.has('opt_out') !== held.has('opt_out');
    // Somebody else had said so for them: now they say it themselves, and that is written down.
    const taken = status === 200 && path === '' && !changed;
    expect(entries).toHaveLength(Number(changed || taken) + Number(flagged));
    for (const entry of entries) expect(entry).toMatchObject({ way, actor: 'recipient', send_id: sendId });
  });
});

describe('I4: an opt-out belongs to the person and the address', () => {
  const now = new Date();

  test('changed its address: both; taken back: the current one alone', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    const address = parsed(`moved${++people}@example.com`);
    const moved = await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, now, person.id, null, { address }),
    );
    if (moved.kind !== 'updated') throw new Error(moved.kind);
    await post(link(sendId), ONE_CLICK);
    expect(await reasonsOf(person.addressId)).toEqual(['opt_out']);
    expect(await reasonsOf(moved.prospect.addressId)).toEqual(['opt_out']);
    expect(await flagsOf(person.id)).toMatchObject({ optOut: true });

    expect((await post(`${link(sendId)}/take-back`, 'everything=yes')).status).toBe(200);
    expect(await reasonsOf(person.addressId)).toEqual(['opt_out']);
    expect(await reasonsOf(moved.prospect.addressId)).toEqual([]);
    expect(await flagsOf(person.id)).toMatchObject({ optOut: false });
  });

  test('taking back does nothing for somebody else who has the old address now', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    const address = parsed(`left${++people}@example.com`);
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, now, person.id, null, { address }),
    );
    const successor = await account.db.transaction((tx) =>
      createProspect(tx, account.hasher, ORIGIN, now, { address: person.address, emailOptOut: true }),
    );
    if (successor.kind !== 'created') throw new Error(successor.kind);
    for (const body of ['everything=yes', `list=${uuidv7()}`]) {
      expect((await post(`${link(sendId)}/take-back`, body)).status).toBe(400);
    }
    expect(await flagsOf(successor.prospect.id)).toMatchObject({ optOut: true });
    expect(await reasonsOf(person.addressId)).toEqual(['opt_out']);
  });

  test('deleted, and then created again', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    await account.db.transaction((tx) => deleteProspect(tx, ORIGIN, now, person.id, null));
    expect((await post(link(sendId), ONE_CLICK)).status).toBe(200);
    const again = await account.db.transaction((tx) =>
      createProspect(tx, account.hasher, ORIGIN, now, { address: person.address }),
    );
    expect(again).toMatchObject({ kind: 'created', prospect: { emailOptOut: true } });
  });

  test('merged away, twice: all addresses, and the one who is left', async () => {
    const [first, second, third] = [await someone(), await someone(), await someone()];
    const { sendId } = await account.send(first);
    for (const [winner, loser] of [
      [second, first],
      [third, second],
    ] as const) {
      await account.db.transaction((tx) => mergeProspects(tx, ORIGIN, now, winner.id, loser.id));
    }
    await post(link(sendId), ONE_CLICK);
    for (const { addressId } of [first, second, third])
      expect(await reasonsOf(addressId)).toEqual(['opt_out']);
    expect(await flagsOf(third.id)).toMatchObject({ optOut: true });
  });

  test('erased: the link still works, for what is left of the address', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    await account.db.transaction((tx) => eraseProspect(tx, ORIGIN, now, person.id));
    expect((await fetch(root + link(sendId))).status).toBe(200);
    expect((await post(link(sendId), ONE_CLICK)).status).toBe(200);
    expect(await reasonsOf(person.addressId)).toEqual(['opt_out']);
  });

  test('a test send is about the colleague who got it, never about the prospect whose fields it shows', async () => {
    const [person, colleague] = [await someone(), await someone()];
    const made = await account.db.transaction(async (tx) =>
      createSend(
        tx,
        account.hasher,
        now,
        { emailId: await account.email(), prospectId: person.id, testTo: colleague.address },
        'heed.test',
      ),
    );
    if (made.kind !== 'created') throw new Error(made.kind);
    await post(link(made.sendId), ONE_CLICK);
    expect(await reasonsOf(person.addressId)).toEqual([]);
    expect(await flagsOf(colleague.id)).toMatchObject({ optOut: true });
    // The send is part of no prospect's history, and with it what it led to would be hidden from the colleague's.
    expect((await auditOf(colleague.addressId)).map((entry) => entry.send_id)).toEqual([null, null]);
  });

  test('a change of address at the same moment loses no opt-out', async () => {
    for (let round = 0; round < 20; round += 1) {
      const person = await someone();
      const { sendId } = await account.send(person);
      const address = parsed(`racing${++people}@example.com`);
      await Promise.all([
        post(link(sendId), ONE_CLICK),
        account.db.transaction((tx) =>
          updateProspect(tx, account.hasher, ORIGIN, now, person.id, null, { address }),
        ),
      ]);
      const [row] = await rows('select address_id, email_opt_out from prospect where id = $1', [person.id]);
      expect(row!.email_opt_out).toBe(true);
      expect(await reasonsOf(row!.address_id as string)).toEqual(['opt_out']);
      expect(await reasonsOf(person.addressId)).toEqual(['opt_out']);
    }
  });
});

describe('lists', () => {
  const named = async (name: string, isPrivate: boolean) => {
    const id = await account.list();
    await rows('update list set name = $2, private = $3 where id = $1', [id, name, isPrivate]);
    return id;
  };

  test('a private list is shown from its own mail alone, and no other link can touch it', async () => {
    const person = await someone();
    const [open, secret, foreign] = [
      await named('Garden <news>', false),
      await named('Secret club', true),
      await named('Of others', false),
    ];
    for (const listId of [open, secret]) {
      await account.db.transaction((tx) => addListMembers(tx, new Date(), listId, [person.id]));
    }
    const fromOpen = link((await account.send(person, { listId: open })).sendId);
    const fromSecret = link((await account.send(person, { listId: secret })).sendId);
    const [openPage, secretPage] = await Promise.all(
      [fromOpen, fromSecret].map(async (path) => (await fetch(root + path)).text()),
    );
    expect(openPage).toContain('Garden &lt;news&gt;');
    expect(openPage).not.toContain('Secret club');
    expect(secretPage).toContain('Secret club');
    for (const page of [openPage, secretPage]) expect(page).not.toContain('Of others');

    expect((await post(fromOpen, `list=${secret}&list=${foreign}&list=x'--`)).status).toBe(400);
    expect(await reasonsOf(person.addressId)).toEqual([]);
    expect((await post(fromOpen, `list=${secret}&list=${open}`)).status).toBe(200);
    expect(await reasonsOf(person.addressId)).toEqual([`opt_out@${open}`]);
    await post(fromSecret, `list=${secret}`);
    expect(await (await fetch(`${root}${fromOpen}/take-back`)).text()).not.toContain('Secret club');
    expect((await post(`${fromOpen}/take-back`, `list=${secret}`)).status).toBe(400);
    expect((await post(`${fromSecret}/take-back`, `list=${secret}&list=${open}`)).status).toBe(200);
    expect(await reasonsOf(person.addressId)).toEqual([]);
  });

  test('I1: a dynamic list is left from its own mail: no member is taken out, and the gate refuses within it', async () => {
    const dynamic = await account.list();
    await rows(`update list set criteria = '{"all": []}', name = 'Everybody' where id = $1`, [dynamic]);
    const person = await someone();
    const [from, elsewhere] = [await account.send(person, { listId: dynamic }), await account.send(person)];
    const shown = async (sendId: string) => (await fetch(root + link(sendId))).text();
    expect(await shown(from.sendId)).toContain('Everybody');
    // Who matches what is worked out when it is sent, and no page of another email could tell it.
    expect(await shown(elsewhere.sendId)).not.toContain('Everybody');

    expect((await post(link(from.sendId), `list=${dynamic}`)).status).toBe(200);
    expect(await reasonsOf(person.addressId)).toEqual([`opt_out@${dynamic}`]);
    expect(await flagsOf(person.id)).toEqual({ optOut: false, bounced: false });
    const [within, without] = [await account.send(person, { listId: dynamic }), await account.send(person)];
    const ask = (send: typeof within) => gate(account.db, { ...send, trigger: 'schedule', now: new Date() });
    expect(await ask(within)).toMatchObject({ kind: 'refused', outcome: 'suppressed' });
    expect(await ask(without)).toMatchObject({ kind: 'open' });

    // From any later email it is shown, so that it can be taken back.
    expect(await shown(without.sendId)).toContain('take-back');
    expect((await post(`${link(without.sendId)}/take-back`, `list=${dynamic}`)).status).toBe(200);
    expect(await reasonsOf(person.addressId)).toEqual([]);
  });

  test('I1: leaving one list ends what waits for that list, and nothing else', async () => {
    const person = await someone();
    const [one, other] = [await account.list(), await account.list()];
    const toOne = await account.send(person, { listId: one });
    const toOther = await account.send(person, { listId: other });
    await post(link(toOne.sendId), `list=${one}`);
    const states = await rows('select id, state from send where id = any($1)', [
      [toOne.sendId, toOther.sendId],
    ]);
    expect(states).toHaveLength(2);
    expect(states).toContainEqual({ id: toOne.sendId, state: 'final' });
    expect(states).toContainEqual({ id: toOther.sendId, state: 'queued' });
  });
});

describe('tokens', () => {
  test('forged, cut off, of a lost key, of a send that is not there, or for mail: one polite page, and nothing is changed', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    const good = testTokens.issue('link', sendId);
    const lost = createUnsubscribeTokens([new Uint8Array(32).fill(9)]);
    const bad = [
      good.slice(0, -1),
      `${good}a`,
      good.slice(0, 30),
      `${good.slice(0, -3)}aaa`,
      lost.issue('link', sendId),
      testTokens.issue('link', uuidv7()),
      testTokens.issue('mail', sendId),
      'preview',
      '%00',
      '%E2%82',
      '..%2f..%2fetc',
      '<script>alert(1)</script>',
      'a'.repeat(5000),
      `${good}/more`,
      `${good}/take-back/more`,
    ];
    const before = await everything();
    const bodies = new Set<string>();
    for (const token of bad) {
      for (const [method, path] of [
        ['GET', token],
        ['POST', token],
        ['POST', `${token}/take-back`],
      ] as const) {
        const answer = await fetch(
          `${root}/u/${token.includes('%') ? token : encodeURI(token)}`.replace(token, path),
          {
            method,
            ...(method === 'POST' && { body: `everything=yes`, headers: FORM }),
          },
        );
        expect(answer.status, `${method} ${path}`).toBe(404);
        bodies.add(await answer.text());
      }
      const oneClick = await post(`/u/${token.includes('%') ? token : encodeURI(token)}`, ONE_CLICK);
      expect(oneClick.status).toBe(404);
      bodies.add(await oneClick.text());
    }
    expect(bodies.size).toBe(1);
    expect([...bodies][0]).toContain(en.invalid.heading);
    expect(await everything()).toEqual(before);
  });

  test('an old key works as long as it is kept', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    const old = new Uint8Array(32).fill(21);
    const token = createUnsubscribeTokens([old]).issue('link', sendId);
    const rotated = createApp({
      ...deps,
      tokens: createUnsubscribeTokens([new Uint8Array(32).fill(22), old]),
    });
    const answer = await rotated.request(`/u/${token}`, { method: 'POST', body: ONE_CLICK, headers: FORM });
    expect(answer.status).toBe(200);
    expect(await reasonsOf(person.addressId)).toEqual(['opt_out']);
  });

  test('whatever is asked for with whatever token: never a fault of ours, never a change for anybody else', async () => {
    const [mine, bystander] = [await someone(), await someone()];
    const listId = await account.list();
    const [{ sendId }, others] = [
      await account.send(mine, { listId }),
      await account.send(bystander, { listId }),
    ];
    await suppress(bystander.addressId, 'opt_out', listId);
    const [token, theirs] = [testTokens.issue('link', sendId), testTokens.issue('link', others.sendId)];
    const before = [
      await reasonsOf(bystander.addressId),
      await flagsOf(bystander.id),
      await auditOf(bystander.addressId),
    ];
    const faults = logged.length;
    const app = createApp({ ...deps, log: { info() {}, error: (...entry) => logged.push(entry) } });
    const tokens = fc
      .oneof(
        fc.constant(token),
        fc.nat(51).map((at) => theirs.slice(0, at) + token.slice(at)),
        fc.nat(50).map((at) => token.slice(0, at + 1) + theirs.slice(at + 1)),
        fc.webSegment(),
      )
      // `..` is taken out of a path before it is asked for: it leaves the unsubscribe pages for the API.
      .filter((text) => text !== theirs && new URL(`/u/${text}`, root).pathname.startsWith('/u/'));
    const pairs = fc.array(
      fc.tuple(
        fc.constantFrom('everything', 'list', 'List-Unsubscribe', 'prospectId', 'addressId', 'sendId', ''),
        fc.oneof(
          fc.constantFrom('yes', 'One-Click', listId, bystander.id, bystander.addressId, others.sendId, '*'),
          fc.string(),
        ),
      ),
      { maxLength: 4 },
    );
    const headers = fc.record(
      {
        'content-type': fc.constantFrom(
          'application/x-www-form-urlencoded',
          'multipart/form-data; boundary=x',
          'a/b',
        ),
        'accept-language': fc.constantFrom('de', 'en;q=0', ';;', 'x'.repeat(500), '*'),
      },
      { requiredKeys: ['content-type'] },
    );
    await fc.assert(
      fc.asyncProperty(
        tokens,
        fc.constantFrom('', '/take-back', '/', '//'),
        fc.constantFrom('POST', 'GET'),
        pairs,
        headers,
        async (text, path, method, form, given) => {
          const answer = await app.request(`/u/${text}${path}`, {
            method,
            headers: given,
            ...(method === 'POST' && { body: new URLSearchParams(form).toString() }),
          });
          expect([200, 400, 404, 405]).toContain(answer.status);
        },
      ),
      { numRuns: 400 },
    );
    expect(logged.length).toBe(faults);
    expect([
      await reasonsOf(bystander.addressId),
      await flagsOf(bystander.id),
      await auditOf(bystander.addressId),
    ]).toEqual(before);
  });

  test('are in no log', async () => {
    const { sendId } = await account.send(await someone());
    const token = testTokens.issue('link', sendId);
    logged.length = 0;
    await fetch(`${root}/u/${token}`);
    await post(`/u/${token}/take-back`, 'everything=yes');
    expect(logged).toHaveLength(2);
    expect(JSON.stringify(logged)).toContain('/u/…');
    expect(JSON.stringify(logged)).not.toContain(token);
  });
});

describe('unsubscribing by mail', () => {
  test('I6: is told apart in the audit trail, and happens once', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    const sayNo = (id: string) =>
      account.db.transaction((tx) => unsubscribeInOneStep(tx, { way: 'unsubscribe_mail' }, new Date(), id));
    expect(await sayNo(uuidv7())).toBe('unmatched');
    expect(await sayNo(sendId)).toBe('applied');
    expect(await sayNo(sendId)).toBe('no_change');
    expect(await auditOf(person.addressId)).toMatchObject([
      { action: 'suppression.added', way: 'unsubscribe_mail', actor: 'recipient', send_id: sendId },
      { action: 'flag.changed', way: 'unsubscribe_mail' },
    ]);
  });
});

describe('the pages', () => {
  test('tell no browser or search engine anything, and run no script', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    for (const path of [link(sendId), `${link(sendId)}/take-back`, '/u/none']) {
      const answer = await fetch(root + path);
      const headers = Object.fromEntries(answer.headers);
      expect(headers).toMatchObject({
        'cache-control': 'no-store',
        'referrer-policy': 'no-referrer',
        'x-robots-tag': 'noindex, nofollow',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'content-language': 'en',
        vary: 'Accept-Language',
      });
      expect(headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'sha256-[^']+';/);
      expect(headers['content-security-policy']).not.toContain('script');
      expect(headers).not.toHaveProperty('set-cookie');
      const html = await answer.text();
      expect(html).toMatch(/^<!doctype html>\n<html lang="en" dir="ltr">/);
      expect(html.match(/<h1>/g)).toHaveLength(1);
      expect(html).not.toMatch(/<script|\son\w+=|https?:\/\/|<img|<link|@import|url\(/i);
      expect(html).not.toContain(person.address.given);
    }
  });

  test('reflect nothing of the request', async () => {
    const { sendId } = await account.send(await someone());
    const mark = 'zqxj';
    const answers = [
      await fetch(`${root}${link(sendId)}?${mark}=${mark}`, {
        headers: { 'accept-language': mark, 'x-request-id': 'a' },
      }),
      await post(link(sendId), `${mark}=${mark}&list=${mark}`),
      await post(`${link(sendId)}/take-back`, `list=${mark}`),
      await fetch(`${root}/u/${mark}`),
    ];
    for (const answer of answers) {
      expect(await answer.text()).not.toContain(mark);
      expect(JSON.stringify([...answer.headers])).not.toContain(mark);
    }
  });

  test('nothing is mailed to whoever takes an opt-out back, and what else holds is said', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    await suppress(person.addressId, 'complaint');
    await post(link(sendId), ONE_CLICK);
    const before = await rows('select count(*) as n from outbox');
    const html = await (await post(`${link(sendId)}/take-back`, 'everything=yes')).text();
    expect(html).toContain(en.done.takenBack);
    expect(html).toContain(en.otherReason.slice(0, 30));
    expect(await rows('select count(*) as n from outbox')).toEqual(before);
    expect(await reasonsOf(person.addressId)).toEqual(['complaint']);
  });

  test('a language is a file: it is chosen by Accept-Language, a region included', async () => {
    const { sendId } = await account.send(await someone());
    const de = { ...en, direction: 'rtl' as const, choose: { ...en.choose, heading: 'Abmelden' } };
    const app = new Hono<ApiEnv>().route('/u', unsubscribePages(deps, { en, de }));
    const shown = async (language: string) => {
      const answer = await app.request(link(sendId), { headers: { 'accept-language': language } });
      return [
        answer.headers.get('content-language'),
        /<html[^>]*>/.exec(await answer.clone().text())![0],
        await answer.text(),
      ];
    };
    const [tag, element, html] = await shown('fr, de-AT;q=0.8, en;q=0.5');
    expect([tag, element]).toEqual(['de', '<html lang="de" dir="rtl">']);
    expect(html).toContain('<h1>Abmelden</h1>');
    expect((await shown('fr'))[0]).toBe('en');
    expect((await shown('en-GB, de;q=0.9'))[0]).toBe('en');
  });

  test('bodies that are too large, broken or never end are not waited for, and change nothing', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    expect((await post(link(sendId), `everything=yes&list=${'x'.repeat(70_000)}`)).status).toBe(413);
    const broken = await post(link(sendId), 'no boundary here', {
      'content-type': 'multipart/form-data; boundary=x',
    });
    expect(broken.status).toBe(400);
    expect(await reasonsOf(person.addressId)).toEqual([]);
    const socket = connect(server.port, '127.0.0.1');
    socket.write(`POST ${link(sendId)} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nList-Unsub`);
    const said = await new Promise<string>((resolve, reject) => {
      socket.once('data', (data) => resolve(data.toString()));
      socket.once('error', reject);
    });
    socket.destroy();
    expect(said).toMatch(/^HTTP\/1\.1 408 /);
    expect(await reasonsOf(person.addressId)).toEqual([]);
  }, 30_000);

  test('I7: without a database it is no 2xx, and a page all the same', async () => {
    const { sendId } = await account.send(await someone());
    const gone = openDatabase('postgres://nobody:x@127.0.0.1:1/none', { max: 1 });
    const app = createApp({ ...deps, db: gone, log: { info() {}, error() {} } });
    for (const init of [{}, { method: 'POST', body: ONE_CLICK, headers: FORM }]) {
      const answer = await app.request(link(sendId), init);
      expect(answer.status).toBe(503);
      expect(answer.headers.get('retry-after')).toBe('60');
      expect(await answer.text()).toContain(en.trouble.heading);
    }
    await gone.close();
  });
});

describe('whom somebody else unsubscribed', () => {
  test('can make it their own word, which nobody takes back but themselves', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    await suppress(person.addressId, 'opt_out');
    const wayOf = async () => {
      const [row] = await rows(`select way from suppression where address_id = $1 and reason = 'opt_out'`, [
        person.addressId,
      ]);
      return row?.way;
    };
    expect(await wayOf()).toBe(ORIGIN.way);
    const shown = async () => (await fetch(root + link(sendId))).text();
    const before = await shown();
    expect(before).toContain(en.unsubscribed.heading);
    expect(before).toContain(en.unsubscribed.confirmButton);

    const answer = await post(link(sendId), 'everything=yes');
    expect(answer.status).toBeLessThan(400);
    expect(await wayOf()).toBe('unsubscribe_link');
    expect(await flagsOf(person.id)).toMatchObject({ optOut: true });
    expect(await shown()).not.toContain(en.unsubscribed.confirmButton);
  });

  test('is not asked twice who said it themselves', async () => {
    const person = await someone();
    const { sendId } = await account.send(person);
    await post(link(sendId), ONE_CLICK);
    const page = await (await fetch(root + link(sendId))).text();
    expect(page).toContain(en.unsubscribed.heading);
    expect(page).not.toContain(en.unsubscribed.confirmButton);
  });
});
