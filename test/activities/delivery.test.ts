import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type AttemptInput,
  type AttemptResult,
  createDeliveryActivities,
} from '../../activities/delivery.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import type { Mailer } from '../../adapters/mailer/mailer.ts';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { type AttemptOwnership, gate, markHandingOver } from '../../db/queries/gate.ts';
import { clearHold, raiseHold } from '../../db/queries/holds.ts';
import { cancelSend } from '../../db/queries/sends.ts';
import {
  createTestAccount,
  ORIGIN,
  type TestAccount,
  type TestProspect,
  type TestSend,
} from '../support/account.ts';
import { type MailServer, startMailServer } from '../support/mailServer.ts';
import { startScriptedSmtp } from '../support/scriptedSmtp.ts';
import { testMailer } from '../support/sending.ts';
import { testUnsubscribing } from '../support/unsubscribing.ts';

/* Attempts as their workflow has them made, and made again after the worker that made them is gone. */

let account: TestAccount;
let mail: MailServer;
let mailer: Mailer;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
  mail = await startMailServer();
  mailer = testMailer(mail.port);
});
beforeEach(() => mail.answer(() => null));
afterAll(async () => {
  await mailer?.close();
  await mail?.close();
  await account?.close();
});

function attempt(send: TestSend, more: Partial<AttemptInput> = {}, by = mailer): Promise<AttemptResult> {
  const { attemptDelivery } = createDeliveryActivities({
    db: account.db,
    mailer: by,
    composer: createEmailComposer(testUnsubscribing),
  });
  const input: AttemptInput = {
    sendId: send.sendId,
    run: send.run,
    trigger: 'schedule',
    now: Date.now(),
    ...more,
  };
  return new MockActivityEnvironment().run(attemptDelivery, input);
}

interface Recipient {
  readonly send: TestSend;
  readonly prospect: TestProspect;
  readonly address: string;
}

async function newSend(): Promise<Recipient> {
  const address = `person${++counter}@example.net`;
  const prospect = await account.prospect(address);
  return { prospect, send: await account.send(prospect), address };
}

async function stateOf({ sendId }: TestSend): Promise<Record<string, unknown>> {
  const [row] = await account.db.query(
    plain(`
      select state, outcome, outcome_reason as reason, (select jsonb_agg(jsonb_build_array(a.number, a.outcome, a.rule)
        order by a.number) from attempt a where a.send_id = send.id) as attempts
      from send where id = $1`),
    [sendId],
  );
  return row!;
}

describe('a way out that is held back, after the worker was lost', () => {
  const destination = () => mailer.destinationOf('example.net');

  /** A worker has had its gate decide, and is gone. */
  async function begin(send: TestSend): Promise<AttemptOwnership> {
    const decision = await gate(account.db, { ...send, trigger: 'schedule', now: new Date() });
    if (decision.kind !== 'open') throw new Error(`the gate said ${decision.kind}`);
    return decision.attempt;
  }

  const holdWayOut = () => raiseHold(account.db, new Date(), destination(), 'relay_unavailable', null);
  beforeEach(() => clearHold(account.db, new Date(), destination()));

  it('I1 I6: who opted out meanwhile is refused at once, and it is written down', async () => {
    const { send, prospect, address } = await newSend();
    await begin(send);
    await account.db.transaction((tx) =>
      setFlags(tx, ORIGIN, new Date(), prospect.id, { emailOptOut: true }),
    );
    await holdWayOut();
    const reason = 'prospect:opt_out address:opt_out';
    expect(await attempt(send)).toEqual({ status: 'final', outcome: 'suppressed', reason });
    expect(await stateOf(send)).toEqual({
      state: 'final',
      outcome: 'suppressed',
      reason,
      attempts: [[1, 'refused', null]],
    });
    const audited = await account.db.query(
      plain('select action, after from audit_entry where send_id = $1 order by id desc limit 1'),
      [send.sendId],
    );
    expect(audited).toEqual([{ action: 'send.refused', after: { state: 'final', outcome: 'suppressed' } }]);
    expect(mail.tries.get(address)).toBeUndefined();
  });

  it('what was cancelled meanwhile ends at once', async () => {
    const { send } = await newSend();
    await begin(send);
    expect(await account.db.transaction((tx) => cancelSend(tx, ORIGIN, new Date(), send.sendId))).toBe(
      'requested',
    );
    await holdWayOut();
    expect(await attempt(send)).toMatchObject({ status: 'final', outcome: 'cancelled' });
    expect(await stateOf(send)).toMatchObject({ state: 'final', outcome: 'cancelled' });
  });

  it('I2: whose message may have been taken is unknown, and does not wait for that to be seen', async () => {
    const { send } = await newSend();
    await markHandingOver(account.db, send.sendId, await begin(send), new Date(), 'mx.example.net');
    await holdWayOut();
    expect(await attempt(send)).toMatchObject({ status: 'final', outcome: 'unknown' });
    expect(await stateOf(send)).toMatchObject({ attempts: [[1, 'unknown', 'worker_lost']] });
  });

  it('whom nothing speaks against is held until it opens, and then attempted', async () => {
    const { send, address } = await newSend();
    await begin(send);
    const until = await holdWayOut();
    const held = await attempt(send);
    expect(held).toMatchObject({ status: 'held', category: 'relay_unavailable' });
    const { nextAttemptAt } = held as { nextAttemptAt: number };
    expect(nextAttemptAt).toBeGreaterThanOrEqual(until.getTime());
    expect(await stateOf(send)).toMatchObject({
      state: 'held',
      attempts: [[1, 'soft_bounce', 'worker_lost']],
    });
    expect(await attempt(send, { now: nextAttemptAt })).toMatchObject({
      status: 'final',
      outcome: 'delivered',
    });
    expect(mail.accepted.filter((to) => to === address)).toHaveLength(1);
  });
});

describe('a retry by hand whose worker was lost', () => {
  const FULL = '452 4.2.2 The recipient mailbox is full';

  it('I2: once its outcome was written down it is not made a second time', async () => {
    const { send, address } = await newSend();
    mail.answer(() => FULL);
    const first = await attempt(send);
    expect(first).toMatchObject({ status: 'waiting', attempts: 1 });
    const retry = { trigger: 'retry_now', attemptsBefore: 1 } as const;
    const made = await attempt(send, retry);
    expect(made).toMatchObject({ status: 'waiting', attempts: 2, attempt: { number: 2 } });
    // The worker did not live to tell Temporal.
    const again = await attempt(send, retry);
    const { nextAttemptAt } = made as { nextAttemptAt: number };
    expect(again).toEqual({ status: 'waiting', nextAttemptAt, attempts: 2 });
    expect(mail.tries.get(address)).toBe(2);
    // The next one is another retry.
    expect(await attempt(send, { ...retry, attemptsBefore: 2 })).toMatchObject({ attempt: { number: 3 } });
  });

  it('before it was handed over it is made by the next worker, as the same attempt', async () => {
    const { send, address } = await newSend();
    mail.answer((_, nth) => (nth === 1 ? FULL : null));
    await attempt(send);
    const retry = { trigger: 'retry_now', attemptsBefore: 1 } as const;
    expect(await gate(account.db, { ...send, ...retry, now: new Date() })).toMatchObject({ kind: 'open' });
    expect(await attempt(send, retry)).toMatchObject({ status: 'final', attempt: { number: 2 } });
    expect(mail.tries.get(address)).toBe(2);
  });
});

describe('a conversation that carried others before', () => {
  /** Says 421 to the first MAIL FROM that follows another message, or closes; a new connection takes it. */
  it.each(['421 4.7.0 too many messages, closing', null])(
    "which the server ends then (%s) is nobody's outcome: another one carries the message, once",
    async (goodbye) => {
      const first = await newSend();
      const second = await newSend();
      let carried = 0;
      const server = await startScriptedSmtp(async (peer) => {
        let messages = 0;
        peer.send('220 mail.test\r\n');
        for (let line = await peer.line(); line !== null; line = await peer.line()) {
          if (line.startsWith('MAIL') && messages > 0) {
            if (goodbye !== null) peer.send(`${goodbye}\r\n`);
            return peer.close();
          }
          if (line === 'DATA') {
            peer.send('354 go on\r\n');
            await peer.content();
            messages += 1;
            carried += 1;
          }
          peer.send('250 ok\r\n');
        }
      });
      const once = testMailer(server.port);
      try {
        for (const { send } of [first, second]) {
          expect(await attempt(send, {}, once)).toMatchObject({ status: 'final', outcome: 'delivered' });
          expect(await stateOf(send)).toMatchObject({
            outcome: 'delivered',
            attempts: [[1, 'delivered', null]],
          });
        }
        expect(carried).toBe(2);
        expect(server.peers).toHaveLength(2);
      } finally {
        await once.close();
        await server.stop();
      }
    },
  );

  it('is a soft bounce where there is no other one to be had', async () => {
    const first = await newSend();
    const second = await newSend();
    const server = await startScriptedSmtp(async (peer) => {
      let messages = 0;
      peer.send('220 mail.test\r\n');
      for (let line = await peer.line(); line !== null; line = await peer.line()) {
        if (line.startsWith('MAIL') && messages > 0) {
          await server.stop();
          return;
        }
        if (line === 'DATA') {
          peer.send('354 go on\r\n');
          await peer.content();
          messages += 1;
        }
        peer.send('250 ok\r\n');
      }
    });
    const once = testMailer(server.port);
    try {
      expect(await attempt(first.send, {}, once)).toMatchObject({ outcome: 'delivered' });
      expect(await attempt(second.send, {}, once)).toMatchObject({ status: 'waiting' });
      expect(await stateOf(second.send)).toMatchObject({
        attempts: [[1, 'soft_bounce', 'connection_broken']],
      });
    } finally {
      await once.close();
    }
  });
});
