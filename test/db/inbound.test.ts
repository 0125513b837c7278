import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keepMessage } from '../../activities/inbound.ts';
import type { WorkflowProcesses } from '../../adapters/temporal/processes.ts';
import { plain } from '../../db/connection.ts';
import { applyInbound, readInbound, storeInbound } from '../../db/queries/inbound.ts';
import type { InboundSource } from '../../domain/inbound.ts';
import type { SendOutcome } from '../../domain/words.ts';
import { startRelay } from '../../worker/relay.ts';
import { createTestAccount, type TestAccount, type TestSend } from '../support/account.ts';
import { ABUSE, dsn, feedback, testReader, testReturnPath, UNSUBSCRIBE } from '../support/inbound.ts';
import { silent } from '../support/silent.ts';
import { testTokens } from '../support/unsubscribing.ts';
import { until } from '../support/until.ts';

let account: TestAccount;
let emailId: string;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
  emailId = await account.email();
});
afterAll(() => account.close());

const NOW = new Date('2026-03-02T10:00:00Z');

async function delivered(outcome: SendOutcome = 'delivered'): Promise<TestSend & { messageId: string }> {
  const send = await account.send(await account.prospect(`inbound${++counter}@example.net`), { emailId });
  const [row] = await account.db.query<{ message_id: string }>(
    plain(`update send set state = 'final', outcome = $2, first_attempt_at = $3, finished_at = $3 where id = $1
           returning message_id`),
    [send.sendId, outcome, NOW],
  );
  return { ...send, messageId: row!.message_id };
}

async function store(raw: string, recipients: readonly string[] = [], source: InboundSource = 'listener') {
  const content = Buffer.from(raw);
  return keepMessage(account.db, NOW, source, { content, size: content.length }, recipients);
}

const apply = (id: string) => applyInbound(account.db, NOW, testReader, id);

async function comeIn(raw: string, recipients: readonly string[] = [], source: InboundSource = 'listener') {
  const { id } = await store(raw, recipients, source);
  await apply(id);
  return (await readInbound(account.db, id))!;
}

async function stateOf({ sendId }: { sendId: string }) {
  const [row] = await account.db.query(
    plain(`select s.outcome, p.bounced, p.email_opt_out,
      (select coalesce(array_agg(reason order by reason), '{}') from suppression where address_id = s.address_id) as reasons
      from send s join prospect p on p.id = s.prospect_id where s.id = $1`),
    [sendId],
  );
  return row!;
}

const UNTOUCHED = { outcome: 'delivered', bounced: false, email_opt_out: false, reasons: [] };

describe('what comes in', () => {
  it('is kept once, and the relay is told once', async () => {
    const first = await store(dsn({ messageId: '<kept@example.com>' }), ['a@example.com', 'b@example.com']);
    const again = await store(dsn({ messageId: '<kept@example.com>' }), ['B@example.com', 'a@example.com']);
    expect(first.isNew).toBe(true);
    expect(again).toEqual({ id: first.id, isNew: false });
    const entries = await account.db.query(plain('select 1 from outbox where aggregate = $1'), [
      `inbound:${first.id}`,
    ]);
    expect(entries).toHaveLength(1);
  });

  it('is known also to those who bring it at the same time', async () => {
    const stored = await Promise.all(
      Array.from({ length: 8 }, () => store(dsn({ messageId: '<at-once@x.test>' }))),
    );
    expect(stored.filter(({ isNew }) => isNew)).toHaveLength(1);
    expect(new Set(stored.map(({ id }) => id)).size).toBe(1);
  });

  it('has nothing in its texts that PostgreSQL refuses', async () => {
    const { state, events } = await comeIn(dsn({ diagnostic: '550 5.1.1 \0 \ud800 unknown' }), [
      'a\0\ud800@x.test',
    ]);
    expect(state).toBe('applied');
    expect(events[0]!.diagnostic).not.toContain('\0');
  });
});

describe('a message that came back', () => {
  it('I3 I4 to a signed return path tells of its send, whatever address it names', async () => {
    const send = await delivered();
    const item = await comeIn(dsn({ recipient: 'forwarded@elsewhere.example.org' }), [
      testReturnPath.of(send.sendId).toUpperCase(),
    ]);
    expect(item).toMatchObject({
      state: 'applied',
      events: [{ kind: 'hard_bounce', category: 'user_unknown', sendId: send.sendId, result: 'applied' }],
    });
    expect(await stateOf(send)).toEqual({
      outcome: 'bounced',
      bounced: true,
      email_opt_out: false,
      reasons: ['bounced'],
    });
  });

  it('I2 settles a send whose outcome was unknown', async () => {
    const send = await delivered('unknown');
    await comeIn(dsn({}), [testReturnPath.of(send.sendId)]);
    expect(await stateOf(send)).toMatchObject({ outcome: 'bounced' });
  });

  it('is known by its Delivered-To where the envelope is not known, as in a mailbox', async () => {
    const send = await delivered();
    await comeIn(`Delivered-To: ${testReturnPath.of(send.sendId)}\r\n${dsn({})}`, [], 'imap');
    expect(await stateOf(send)).toMatchObject({ outcome: 'bounced' });
  });

  it('is known by a Message-ID that is exactly ours', async () => {
    const send = await delivered();
    const item = await comeIn(dsn({ messageId: send.messageId }));
    expect(item.events).toMatchObject([{ sendId: send.sendId, result: 'applied' }]);
    expect(await stateOf(send)).toMatchObject({ outcome: 'bounced' });
  });

  it('about the address of a prospect, without proof, changes nothing and is kept to be looked at', async () => {
    const send = await delivered();
    const [{ recipient }] = (await account.db.query(plain('select recipient from send where id = $1'), [
      send.sendId,
    ])) as [{ recipient: string }];
    const forged = [
      dsn({ recipient }),
      dsn({ recipient, messageId: '<019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11@heed.test>' }),
      dsn({ recipient, messageId: send.messageId.replace('@heed.test', '@evil.test') }),
      dsn({ recipient, messageId: '<no-id@heed.test>' }),
      dsn({ recipient, to: testReturnPath.of(send.sendId).replace(/.@/, '@') }),
    ];
    for (const raw of forged) {
      const item = await comeIn(raw, ['b-aaaa@bounce.example.com']);
      expect(item).toMatchObject({ state: 'applied', events: [{ sendId: null, result: 'unmatched' }] });
    }
    expect(await stateOf(send)).toEqual(UNTOUCHED);
  });

  it.each([
    [
      'a delay notice',
      { action: 'delayed', status: '4.4.1', diagnostic: '451 4.4.1 timeout' },
      'none',
      'delivered',
    ],
    [
      'a report of success',
      { action: 'delivered', status: '2.0.0', diagnostic: '250 ok' },
      'delivered',
      'delivered',
    ],
    [
      'a relay that will report no more',
      { action: 'relayed', status: '2.0.0', diagnostic: '250 ok' },
      'none',
      'delivered',
    ],
    [
      'a full mailbox in the end',
      { status: '5.2.2', diagnostic: '552 5.2.2 Mailbox full' },
      'gave_up',
      'exhausted',
    ],
    [
      'a refusal of the content',
      { status: '5.7.1', diagnostic: '550 5.7.1 Message rejected due to content policy' },
      'rejected',
      'rejected',
    ],
  ])('%s', async (_, report, kind, outcome) => {
    const send = await delivered();
    const { events } = await comeIn(dsn(report), [testReturnPath.of(send.sendId)]);
    expect(events).toMatchObject([{ kind, sendId: send.sendId }]);
    expect(await stateOf(send)).toEqual({ ...UNTOUCHED, outcome });
  });

  it('an answer of somebody who is away changes nothing', async () => {
    const send = await delivered();
    const raw =
      'From: ada@example.net\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nI am away until Monday.\r\n';
    const { events } = await comeIn(raw, [testReturnPath.of(send.sendId)]);
    expect(events).toMatchObject([{ kind: 'none', result: 'no_change' }]);
    expect(await stateOf(send)).toEqual(UNTOUCHED);
  });

  it('I3 a feedback report is a complaint; one that says that it is no spam is none', async () => {
    const [send, other] = [await delivered(), await delivered()];
    await comeIn(feedback({ messageId: send.messageId }), [ABUSE]);
    expect(await stateOf(send)).toEqual({
      outcome: 'delivered',
      bounced: false,
      email_opt_out: true,
      reasons: ['complaint', 'opt_out'],
    });
    await comeIn(feedback({ messageId: other.messageId, type: 'not-spam' }), [ABUSE]);
    expect(await stateOf(other)).toEqual(UNTOUCHED);
  });

  it('to the unsubscribe mailbox unsubscribes by the token in its subject or address, and by nothing else', async () => {
    const [bySubject, byAddress, unmoved] = [await delivered(), await delivered(), await delivered()];
    const token = (send: TestSend) => testTokens.issue('mail', send.sendId);
    await comeIn(`From: anybody@example.org\r\nSubject: Re: unsubscribe ${token(bySubject)}\r\n\r\n`, [
      UNSUBSCRIBE,
    ]);
    await comeIn(`From: anybody@example.org\r\nSubject: stop\r\n\r\n`, [
      UNSUBSCRIBE.replace('@', `+${token(byAddress)}@`),
    ]);
    for (const send of [bySubject, byAddress]) {
      expect(await stateOf(send)).toMatchObject({
        email_opt_out: true,
        bounced: false,
        reasons: ['opt_out'],
      });
      const [entry] = await account.db.query(
        plain(
          `select way, actor from audit_entry where prospect_id = $1 and way = 'unsubscribe_mail' limit 1`,
        ),
        [send.prospectId],
      );
      expect(entry).toEqual({ way: 'unsubscribe_mail', actor: 'recipient' });
    }
    for (const forged of ['stop', testTokens.issue('link', unmoved.sendId), token(unmoved).slice(1)]) {
      const item = await comeIn(`Subject: unsubscribe ${forged}\r\nX-N: ${++counter}\r\n\r\n`, [UNSUBSCRIBE]);
      expect(item.events).toMatchObject([{ kind: 'none', result: 'unmatched' }]);
    }
    expect(await stateOf(unmoved)).toEqual(UNTOUCHED);
  });
});

describe('applying', () => {
  it('twice, also at the same time, changes nothing more', async () => {
    const send = await delivered();
    const { id } = await store(dsn({}), [testReturnPath.of(send.sendId)]);
    await Promise.all([apply(id), apply(id), apply(id)]);
    const before = await readInbound(account.db, id);
    const entries = plain('select count(*)::int as n from audit_entry where send_id = $1');
    const [audit] = await account.db.query(entries, [send.sendId]);
    await apply(id);
    expect(await readInbound(account.db, id)).toEqual(before);
    expect(before!.events).toHaveLength(1);
    expect((await account.db.query(entries, [send.sendId]))[0]).toEqual(audit);
  });

  it('what cannot be read is kept with the reason, and not tried again', async () => {
    for (const [n, content] of ['no JSON', '[]', '{"event":{}}', '{"event-data":7}'].entries()) {
      const { id } = await account.db.transaction((tx) =>
        storeInbound(tx, NOW, {
          source: n % 2 === 0 ? 'sendgrid' : 'mailgun',
          dedupeKey: `unreadable ${n}`,
          content: Buffer.from(content),
          size: content.length,
          recipients: [],
        }),
      );
      await apply(id);
      const item = await readInbound(account.db, id);
      expect(item).toMatchObject({ state: 'failed', events: [] });
      expect(item!.failure).not.toBe('');
      await apply(id);
      expect(await readInbound(account.db, id)).toEqual(item);
    }
  });

  it('I7 is thrown out by a fault of the database, and done by the next try', async () => {
    const send = await delivered();
    const { id } = await store(dsn({}), [testReturnPath.of(send.sendId)]);
    let blocked: Promise<unknown>;
    await account.db.transaction(async (tx) => {
      await tx.query(plain('select 1 from send where id = $1 for update'), [send.sendId]);
      blocked = apply(id).then(
        () => 'applied',
        (error: { code?: string }) => error.code,
      );
      await until('the blocked statement was ended', async () => {
        const killed = await tx.query(
          plain(`select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'`),
        );
        return killed.length > 0;
      });
      expect(await blocked).toBe('57P01');
    });
    expect(await readInbound(account.db, id)).toMatchObject({ state: 'received', failure: null, events: [] });
    expect(await stateOf(send)).toEqual(UNTOUCHED);
    await apply(id);
    expect(await stateOf(send)).toMatchObject({ outcome: 'bounced' });
  });

  it('I7 a crash after it was kept loses nothing: whichever relay comes next applies it, past what fails', async () => {
    await account.db.query(plain('delete from outbox'));
    const [broken, send] = [await delivered(), await delivered()];
    const first = await store(dsn({ diagnostic: '550 5.1.1 first' }), [testReturnPath.of(broken.sendId)]);
    await store(dsn({ diagnostic: '550 5.1.1 second' }), [testReturnPath.of(send.sendId)]);
    let down = true;
    const relay = startRelay({
      db: account.db,
      processes: {} as WorkflowProcesses,
      async readInbound(item) {
        if (down && item.recipients[0] === testReturnPath.of(broken.sendId)) await refuseConnections();
        return testReader(item);
      },
      log: silent,
    });
    // The one whose try broke down is tried again, and holds up nobody.
    async function refuseConnections(): Promise<void> {
      down = false;
      await account.db.query(
        plain(`select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid() and state = 'idle in transaction'`),
      );
    }
    await until('the first is applied', async () => (await stateOf(broken)).outcome === 'bounced');
    await until('the second is applied', async () => (await stateOf(send)).outcome === 'bounced');
    const rest = plain(`select 1 from outbox where message->>'type' = 'applyInbound'`);
    await until('the outbox is empty', async () => (await account.db.query(rest)).length === 0);
    await relay.stop();
    expect(await readInbound(account.db, first.id)).toMatchObject({ state: 'applied' });
  });

  it('I2 what comes before the end of an attempt is applied after it, and holds up nobody', async () => {
    await account.db.query(plain('delete from outbox'));
    const [early, other] = [await delivered(), await delivered()];
    await account.db.query(plain(`update send set state = 'attempting', outcome = null where id = $1`), [
      early.sendId,
    ]);
    const first = await store(dsn({ status: '5.7.1', diagnostic: '550 5.7.1 rejected by content policy' }), [
      testReturnPath.of(early.sendId),
    ]);
    let reads = 0;
    const relay = startRelay({
      db: account.db,
      processes: {} as WorkflowProcesses,
      async readInbound(item) {
        if (item.recipients[0] === testReturnPath.of(early.sendId)) reads++;
        return testReader(item);
      },
      log: silent,
    });
    try {
      await until('it was looked at', async () => reads > 0);
      await store(dsn({}), [testReturnPath.of(other.sendId)]);
      await until('another one is applied', async () => (await stateOf(other)).outcome === 'bounced');
      expect(await readInbound(account.db, first.id)).toMatchObject({ state: 'received', events: [] });
      await account.db.query(plain(`update send set state = 'final', outcome = 'unknown' where id = $1`), [
        early.sendId,
      ]);
      await until('it is applied', async () => (await stateOf(early)).outcome === 'rejected');
      await until('the item is done', async () => {
        const item = await readInbound(account.db, first.id);
        return item!.state === 'applied';
      });
      expect((await readInbound(account.db, first.id))!.events).toMatchObject([{ result: 'applied' }]);
    } finally {
      await relay.stop();
    }
  });

  it('any order and any repetition of the same items ends the same', async () => {
    const items = {
      dead: (to: string) => dsn({ to }),
      full: (to: string) => dsn({ to, status: '5.2.2', diagnostic: '552 5.2.2 Mailbox full' }),
      refused: (to: string) =>
        dsn({ to, status: '5.7.1', diagnostic: '550 5.7.1 rejected due to content policy' }),
      delayed: (to: string) => dsn({ to, action: 'delayed', status: '4.4.1' }),
      delivered: (to: string) => dsn({ to, action: 'delivered', status: '2.0.0', diagnostic: '250 ok' }),
      complaint: (to: string) => feedback({ to }),
      away: () => 'Subject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nAway.\r\n',
    };
    const names = Object.keys(items) as (keyof typeof items)[];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('delivered', 'unknown', 'exhausted' as const),
        fc.uniqueArray(fc.constantFrom(...names), { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat(), { minLength: 10, maxLength: 10 }),
        async (before, chosen, random) => {
          const [one, other] = [await delivered(before), await delivered(before)];
          const bring = async (send: TestSend, name: keyof typeof items) => {
            const address = testReturnPath.of(send.sendId);
            await comeIn(items[name](address), [address]);
          };
          for (const name of chosen) await bring(one, name);
          const shuffled = [...chosen, ...chosen]
            .map((name, n) => ({ name, at: random[n]! }))
            .sort((a, b) => a.at - b.at);
          for (const { name } of shuffled) await bring(other, name);
          expect(await stateOf(other)).toEqual(await stateOf(one));
        },
      ),
      { numRuns: 25 },
    );
  });
});
