import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createBroadcastActivities } from '../../activities/broadcast/activities.ts';
import { type LaneEnd, workThroughPages } from '../../activities/broadcast/pages.ts';
import { newSendId } from '../../activities/broadcast/sendIds.ts';
import { clockFrom } from '../../activities/clock.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import type { Mailer } from '../../adapters/mailer/mailer.ts';
import { plain } from '../../db/connection.ts';
import { gateSlice, markSlice } from '../../db/queries/broadcastGate.ts';
import {
  claimPage,
  readBroadcastContent,
  readPageRecipients,
  takeBackPages,
} from '../../db/queries/broadcastPages.ts';
import { readBroadcastReport } from '../../db/queries/broadcastReport.ts';
import {
  changeBroadcast,
  endSendsOfBroadcast,
  nextBroadcastStep,
  readUnfinishedBroadcasts,
} from '../../db/queries/broadcasts.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { eraseProspect } from '../../db/queries/prospectErase.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { deleteProspect } from '../../db/queries/prospects.ts';
import type { BroadcastCommand } from '../../domain/broadcast/words.ts';
import { freePort } from '../../tools/embedded/service.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { listOf, readyBroadcast, sendsOf, takeBack } from '../support/broadcasting.ts';
import { type MailServer, startMailServer } from '../support/mailServer.ts';
import { testMailer } from '../support/sending.ts';
import { startStoppingMailServer } from '../support/stoppingMailServer.ts';
import { testUnsubscribing } from '../support/unsubscribing.ts';
import { until } from '../support/until.ts';

/* Lanes of broadcasts against a real PostgreSQL and a real mail server. */

const NO_ID = '00000000-0000-0000-0000-000000000000';

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

const parts = () => ({
  db: account.db,
  mailer,
  composer: createEmailComposer(testUnsubscribing),
  messageIdDomain: 'heed.test',
});

function lane(
  broadcastId: string,
  {
    by = mailer,
    conversations = 5,
    at = new Date(),
    milliseconds = 60_000,
  }: { by?: Mailer; conversations?: number; at?: Date; milliseconds?: number } = {},
): Promise<LaneEnd> {
  return workThroughPages(
    { ...parts(), mailer: by, conversations, clock: clockFrom(at.getTime()) },
    { broadcastId, lane: 0, milliseconds },
    new AbortController().signal,
  );
}

/** Cancels it, and ends its sends as the relay does. */
async function cancel(broadcastId: string): Promise<void> {
  const now = new Date();
  await account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, now, broadcastId, 'cancel'));
  await account.db.transaction((tx) => endSendsOfBroadcast(tx, ORIGIN, now, broadcastId, NO_ID, 1_000));
}

/** Addresses of a domain of their own, so that tests do not meet. */
function addresses(count: number, local = 'person'): string[] {
  counter += 1;
  return Array.from({ length: count }, (_, index) => `${local}${index}@d${counter}.example.net`);
}

const command = (broadcastId: string, which: BroadcastCommand) =>
  account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, new Date(), broadcastId, which));

/** A page is gated by a worker that is lost before it hands anything over. */
async function gateAndLose(broadcastId: string): Promise<void> {
  const page = (await claimPage(account.db, new Date(), broadcastId, 0))!;
  const [email] = await account.db.query<{ id: string; version: number }>(
    plain('select email_id as id, email_version as version from broadcast where id = $1'),
    [broadcastId],
  );
  const items = (await readPageRecipients(account.db, page)).map((recipient) => {
    const sendId = crypto.randomUUID();
    return { ...recipient, sendId, messageId: `<${sendId}@heed.test>` };
  });
  const now = new Date();
  await gateSlice(account.db, {
    broadcastId,
    page,
    kind: 'marketing',
    email: email!,
    items,
    createdAt: now,
    now,
  });
  await takeBack(account, broadcastId, 0);
}

/** A mailer by which something happens before the first conversation, and so before anybody is gated. */
function mailerAfter(work: () => Promise<unknown>): Mailer {
  let done: Promise<unknown> | undefined;
  return new Proxy(mailer, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (name === 'reserve') {
        return async (...of: Parameters<Mailer['reserve']>) => {
          done ??= work();
          await done;
          return target.reserve(...of);
        };
      }
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const acceptedOf = (emails: readonly string[]) =>
  mail.accepted.filter((address) => emails.includes(address)).sort();

describe('pages of a broadcast', () => {
  it('I1, I2, I6: everybody gets one copy, with a gate, an outcome and the audit of both', async () => {
    const emails = addresses(1_234);
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    expect(acceptedOf(emails)).toEqual([...emails].sort());
    const sends = await sendsOf(account, broadcastId);
    expect(sends).toHaveLength(emails.length);
    for (const send of sends) {
      expect(send).toMatchObject({ state: 'final', outcome: 'delivered', run: 0 });
      expect(send.attempts).toEqual([{ number: 1, epoch: 1, state: 'finished', outcome: 'delivered' }]);
    }
    const audit = await account.db.query<{ action: string; count: number }>(
      plain(
        `select action, count(*)::int as count from audit_entry where send_id = any($1::uuid[]) group by action`,
      ),
      [sends.map((send) => send.id)],
    );
    expect(audit.sort((a, b) => a.action.localeCompare(b.action))).toEqual([
      { action: 'attempt.finished', count: emails.length },
      { action: 'attempt.gated', count: emails.length },
    ]);
    const [pages] = await account.db.query<{ done: number; windows: number }>(
      plain(`select count(*) filter (where state = 'done')::int as done, sum((select sum(w) from unnest(gate_windows) w))::int as windows
             from broadcast_page where broadcast_id = $1`),
      [broadcastId],
    );
    expect(pages).toEqual({ done: 3, windows: emails.length });
  });

  it('I1: who is suppressed in any way is refused, and the refusal is written down', async () => {
    const emails = addresses(20);
    const { listId, prospectIds } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    await account.db.transaction((tx) =>
      setFlags(tx, ORIGIN, new Date(), prospectIds[3]!, { emailOptOut: true }),
    );
    await account.db.transaction((tx) =>
      setFlags(tx, ORIGIN, new Date(), prospectIds[7]!, { bounced: true }),
    );
    await lane(broadcastId);
    expect(acceptedOf(emails)).toHaveLength(18);
    const refused = (await sendsOf(account, broadcastId)).filter((send) => send.outcome !== 'delivered');
    expect(
      refused.map(({ recipient, outcome, outcome_reason }) => ({ recipient, outcome, outcome_reason })),
    ).toEqual([
      { recipient: emails[3], outcome: 'suppressed', outcome_reason: 'prospect:opt_out address:opt_out' },
      { recipient: emails[7], outcome: 'suppressed', outcome_reason: 'prospect:bounced address:bounced' },
    ]);
  });

  it('I7: who is deleted, merged away or erased before their page is read gets no send, and the others get theirs', async () => {
    const emails = addresses(8);
    const { listId, prospectIds } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    const now = new Date();
    await account.db.transaction((tx) => eraseProspect(tx, ORIGIN, now, prospectIds[1]!));
    await account.db.transaction((tx) => deleteProspect(tx, ORIGIN, now, prospectIds[3]!, null));
    await account.db.transaction((tx) => mergeProspects(tx, ORIGIN, now, prospectIds[4]!, prospectIds[5]!));
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    const reached = emails.filter((_, index) => ![1, 3, 5].includes(index));
    expect(acceptedOf(emails)).toEqual(reached);
    expect((await sendsOf(account, broadcastId)).map(({ recipient }) => recipient)).toEqual(reached);
    expect(await account.db.transaction((tx) => nextBroadcastStep(tx, new Date(), broadcastId, 1))).toEqual({
      kind: 'over',
      state: 'sent',
    });
    expect(await readBroadcastReport(account.db, broadcastId)).toMatchObject({
      recipients: 8,
      notReached: 3,
      outcomes: { delivered: 5 },
    });
  });

  it('soft bounces wait with their workflow asked for, hard ones set Bounced, others are rejected', async () => {
    const emails = [
      ...addresses(10, 'fine'),
      ...addresses(2, 'full'),
      ...addresses(2, 'gone'),
      ...addresses(1, 'no'),
    ];
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    mail.answer((recipient) => {
      if (recipient.startsWith('full')) return '452 4.2.2 The recipient mailbox is full';
      if (recipient.startsWith('gone')) return '550 5.1.1 User unknown';
      if (recipient.startsWith('no')) return '550 5.7.1 Message rejected due to content policy';
      return null;
    });
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    const sends = await sendsOf(account, broadcastId);
    expect(Object.groupBy(sends, (send) => send.outcome ?? send.state)).toMatchObject({
      delivered: { length: 10 },
      waiting: { length: 2 },
      bounced: { length: 2 },
      rejected: { length: 1 },
    });
    for (const send of sends.filter((one) => one.state === 'waiting')) {
      expect(send.run).toBe(1);
      const entries = await account.db.query(
        plain(`select message from outbox where aggregate = 'send:' || $1`),
        [send.id],
      );
      expect(entries).toMatchObject([{ message: { type: 'startSend', sendId: send.id, run: 1 } }]);
    }
    const [bounced] = await account.db.query<{ count: number }>(
      plain('select count(*)::int as count from prospect where bounced and email = any($1)'),
      [emails],
    );
    expect(bounced!.count).toBe(2);
  });

  it('I1: a decision older than two seconds is not used: who opted out meanwhile is refused, the others are gated anew', async () => {
    const slow = await startStoppingMailServer();
    const one = testMailer(slow.port);
    try {
      const emails = addresses(4);
      const { listId, prospectIds } = await listOf(account, emails);
      const broadcastId = await readyBroadcast(account, listId);
      const stop = slow.stop(emails[0]!, 'rcpt');
      const running = lane(broadcastId, { by: one, conversations: 1 });
      await stop.reached;
      // The second is gated together with the first, and waits behind it.
      expect((await sendsOf(account, broadcastId)).map(({ recipient }) => recipient)).toContain(emails[1]);
      await account.db.transaction((tx) =>
        setFlags(tx, ORIGIN, new Date(), prospectIds[1]!, { emailOptOut: true }),
      );
      await delay(2_500);
      stop.release();
      expect(await running).toEqual({ kind: 'none' });
      const sends = await sendsOf(account, broadcastId);
      expect(sends.map(({ outcome }) => outcome)).toEqual([
        'delivered',
        'suppressed',
        'delivered',
        'delivered',
      ]);
      expect(slow.triesOf(emails[1]!)).toBe(0);
      expect(sends[1]!.attempts).toEqual([{ number: 1, epoch: 2, state: 'finished', outcome: 'refused' }]);
      for (const email of [emails[0]!, emails[2]!, emails[3]!]) expect(slow.triesOf(email)).toBe(1);
    } finally {
      await one.close();
      await slow.close();
    }
  }, 60_000);

  it('a decision that grew too old is not taken anew once the broadcast is paused, and is when it goes on', async () => {
    const slow = await startStoppingMailServer();
    const one = testMailer(slow.port);
    try {
      const emails = addresses(2);
      const { listId } = await listOf(account, emails);
      const broadcastId = await readyBroadcast(account, listId);
      const stop = slow.stop(emails[0]!, 'rcpt');
      const running = lane(broadcastId, { by: one, conversations: 1 });
      await stop.reached;
      // Both are gated: nobody is left whose first gate would tell of the pause.
      expect(await sendsOf(account, broadcastId)).toHaveLength(2);
      await command(broadcastId, 'pause');
      await delay(2_500);
      stop.release();
      expect(await running).toEqual({ kind: 'stopped' });
      expect(slow.triesOf(emails[1]!)).toBe(0);
      await command(broadcastId, 'resume');
      expect(await lane(broadcastId, { by: one, conversations: 1 })).toEqual({ kind: 'none' });
      for (const { recipient, outcome } of await sendsOf(account, broadcastId)) {
        expect([outcome, slow.triesOf(recipient)]).toEqual(['delivered', 1]);
      }
    } finally {
      await one.close();
      await slow.close();
    }
  }, 60_000);

  it('what a lost worker had gated does not go out once the broadcast is paused, and does when it goes on', async () => {
    const emails = addresses(20);
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    await gateAndLose(broadcastId);
    const by = mailerAfter(() => command(broadcastId, 'pause'));
    expect(await lane(broadcastId, { by })).toEqual({ kind: 'stopped' });
    expect(acceptedOf(emails)).toEqual([]);
    await command(broadcastId, 'resume');
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  });

  it('what a lost worker had gated is cancelled with its broadcast', async () => {
    const emails = addresses(20);
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    await gateAndLose(broadcastId);
    await lane(broadcastId, { by: mailerAfter(() => command(broadcastId, 'cancel')) });
    expect(acceptedOf(emails)).toEqual([]);
    for (const { outcome, outcome_reason } of await sendsOf(account, broadcastId)) {
      expect([outcome, outcome_reason]).toEqual(['cancelled', 'broadcast_cancelled']);
    }
  });

  /** The first of three holds the only conversation up until the others' decisions are too old; an update of attempts is refused meanwhile. */
  async function whileRefused(
    refused: string,
    check: (
      running: Promise<LaneEnd>,
      allow: () => Promise<unknown>,
      again: () => Promise<LaneEnd>,
    ) => Promise<void>,
  ): Promise<void> {
    const slow = await startStoppingMailServer();
    const one = testMailer(slow.port);
    const allow = () => account.db.query(plain('drop function if exists refuse cascade'));
    try {
      const emails = addresses(3);
      const { listId } = await listOf(account, emails);
      const broadcastId = await readyBroadcast(account, listId);
      await account.db.query(
        plain(
          `create function refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$`,
        ),
      );
      await account.db.query(
        plain(
          `create trigger refuse_it before update on attempt for each row when (${refused}) execute function refuse()`,
        ),
      );
      const stop = slow.stop(emails[0]!, 'rcpt');
      const again = () => lane(broadcastId, { by: one, conversations: 1 });
      const running = again();
      running.catch(() => {});
      await stop.reached;
      await delay(2_500);
      stop.release();
      await check(running, allow, again);
      for (const { recipient, outcome } of await sendsOf(account, broadcastId)) {
        expect(outcome).toBe('delivered');
        expect(slow.triesOf(recipient)).toBe(1);
      }
    } finally {
      await allow();
      await one.close();
      await slow.close();
    }
  }

  it(
    'I7: where a message that came too late cannot be asked about anew, the lane ends, and is run again',
    () =>
      whileRefused(`old.state = 'gated' and new.state = 'gated'`, async (running, allow, again) => {
        await expect(running).rejects.toThrow('not now');
        await allow();
        expect(await again()).toEqual({ kind: 'none' });
      }),
    60_000,
  );

  it(
    'I2: takes the mark back from a message that came too late for as long as it takes, so that it is not unknown',
    () =>
      whileRefused(`old.state = 'handing_over' and new.state = 'gated'`, async (running, allow) => {
        await delay(1_000);
        await allow();
        expect(await running).toEqual({ kind: 'none' });
      }),
    60_000,
  );

  it('I2: cancelled in mid-run, what is in a conversation ends as it ends, and everything else is cancelled', async () => {
    const slow = await startStoppingMailServer();
    const one = testMailer(slow.port);
    try {
      const emails = addresses(300);
      const { listId } = await listOf(account, emails);
      const broadcastId = await readyBroadcast(account, listId);
      const stop = slow.stop(emails[100]!, 'final');
      const running = lane(broadcastId, { by: one, conversations: 1 });
      await stop.reached;
      await cancel(broadcastId);
      stop.release();
      await running;
      const sends = await sendsOf(account, broadcastId);
      for (const { recipient, outcome } of sends) {
        expect(['delivered', 'cancelled']).toContain(outcome);
        expect(slow.kept.filter((message) => message.recipient === recipient)).toHaveLength(
          outcome === 'delivered' ? 1 : 0,
        );
      }
      expect(sends.filter(({ outcome }) => outcome === 'cancelled')).not.toEqual([]);
      const report = await readBroadcastReport(account.db, broadcastId);
      expect(report).toMatchObject({ attempting: 0, waiting: 0, held: 0 });
    } finally {
      await one.close();
      await slow.close();
    }
  }, 60_000);

  const endOfWorkflow = (broadcastId: string) =>
    createBroadcastActivities({ ...parts(), broadcastConversations: 5 }).stepOfBroadcast({
      broadcastId,
      run: 1,
      now: Date.now(),
    });
  it.each<[string, (broadcastId: string) => Promise<unknown>]>([
    ['the next run of its lane', (id) => lane(id)],
    ['the end of its workflow', endOfWorkflow],
    [
      'the end of its workflow, where the next run of its lane was killed too',
      async (id) => {
        await takeBackPages(account.db, new Date(), id, 0);
        await endOfWorkflow(id);
      },
    ],
    [
      'the sweep, where its workflow was lost together with the next run of its lane',
      async (id) => {
        await takeBackPages(account.db, new Date(), id, 0);
        await account.db.query(plain(`delete from outbox where aggregate = 'broadcast:' || $1`), [id]);
        expect(await readUnfinishedBroadcasts(account.db)).toContainEqual({ id, run: 1 });
        await endOfWorkflow(id);
        expect(await readUnfinishedBroadcasts(account.db)).not.toContainEqual({ id, run: 1 });
      },
    ],
  ])(
    'I2: of a cancelled broadcast, what a killed worker was handing over is unknown after %s',
    async (_, next) => {
      const { listId } = await listOf(account, addresses(2));
      const broadcastId = await readyBroadcast(account, listId);
      const page = (await claimPage(account.db, new Date(), broadcastId, 0))!;
      const [content, recipients] = await Promise.all([
        readBroadcastContent(account.db, broadcastId),
        readPageRecipients(account.db, page),
      ]);
      const items = recipients.map((recipient) => {
        const sendId = newSendId();
        return { ...recipient, sendId, messageId: `<${sendId}@heed.test>` };
      });
      const at = new Date();
      await gateSlice(account.db, { ...content!, page, items, createdAt: at, now: at });
      const attempt = { number: 1, epoch: page.epoch };
      await markSlice(account.db, at, [{ sendId: items[0]!.sendId, attempt }]);
      await cancel(broadcastId);
      await next(broadcastId);
      expect((await sendsOf(account, broadcastId)).map(({ outcome }) => outcome)).toEqual([
        'unknown',
        'cancelled',
      ]);
    },
  );

  it('waits where its only way out is closed, gates nobody for nothing, and goes on when it opens', async () => {
    const emails = addresses(700);
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    const nowhere = testMailer(await freePort());
    expect(await lane(broadcastId, { by: nowhere })).toMatchObject({ kind: 'wait' });
    expect(await sendsOf(account, broadcastId)).toEqual([]);
    await nowhere.close();
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  });

  it('leaves those whose way out is closed for later, and sends to everybody else', async () => {
    const [closed, open] = [addresses(30), addresses(40)];
    const { listId } = await listOf(account, [...closed, ...open]);
    const broadcastId = await readyBroadcast(account, listId);
    const nowhere = testMailer(await freePort());
    const isClosed = (domain: string) => closed[0]!.endsWith(`@${domain}`);
    const several: Mailer = {
      ...mailer,
      onlyDestination: null,
      destinationOf: (domain) => (isClosed(domain) ? nowhere : mailer).destinationOf(domain),
      reserve: (domain, signal) => (isClosed(domain) ? nowhere : mailer).reserve(domain, signal),
    };
    expect(await lane(broadcastId, { by: several })).toEqual({ kind: 'none' });
    expect(acceptedOf(open)).toEqual([...open].sort());
    expect((await sendsOf(account, broadcastId)).map(({ recipient }) => recipient)).toEqual([...open].sort());
    await nowhere.close();

    const next = await account.db.transaction((tx) => nextBroadcastStep(tx, new Date(), broadcastId, 1));
    expect(next).toMatchObject({ kind: 'wait', until: expect.any(Date) });
    const { until: opens } = next as { until: Date };
    expect(opens.getTime()).toBeGreaterThan(Date.now());
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    expect(acceptedOf(closed)).toEqual([]);

    expect(await account.db.transaction((tx) => nextBroadcastStep(tx, opens, broadcastId, 1))).toEqual({
      kind: 'send',
      pages: 1,
    });
    expect(await lane(broadcastId, { at: opens })).toEqual({ kind: 'none' });
    expect(acceptedOf(closed)).toEqual([...closed].sort());
  });

  it('ends when its time is over, and leaves whoever has no gate yet to the next one', async () => {
    const emails = addresses(20);
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId, { perMinute: 300 });
    expect(await lane(broadcastId, { milliseconds: 1_000 })).toEqual({ kind: 'more' });
    const sends = await sendsOf(account, broadcastId);
    expect(sends.length).toBeGreaterThan(0);
    expect(sends.length).toBeLessThan(emails.length);
    expect(sends.every(({ outcome }) => outcome === 'delivered')).toBe(true);
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  }, 20_000);

  it('keeps to its limit by many ways out, and wastes none of it', async () => {
    const emails = Array.from({ length: 10 }, () => addresses(2)).flat();
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId, { perMinute: 600 });
    const each: Mailer = { ...mailer, onlyDestination: null, destinationOf: (domain) => `to:${domain}` };
    const began = performance.now();
    expect(await lane(broadcastId, { by: each })).toEqual({ kind: 'none' });
    // 20 at ten a second, the first ones at once.
    expect(performance.now() - began).toBeGreaterThan(1_000);
    const [turns] = await account.db.query<{ taken: number }>(
      plain(
        `select extract(epoch from paced_until - started_at)::float8 as taken from broadcast where id = $1`,
      ),
      [broadcastId],
    );
    expect(turns!.taken).toBeGreaterThan(0);
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  }, 20_000);

  it('a database error while the next page is made ready ends the lane, not the process', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', note);
    const emails = addresses(600);
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    await account.db.query(
      plain(`create function refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$`),
    );
    await account.db.query(
      plain('create trigger refuse_it before insert on attempt execute function refuse()'),
    );
    try {
      const composer = createEmailComposer(testUnsubscribing);
      const slow: typeof composer = {
        async compose(of) {
          await delay(300);
          return composer.compose(of);
        },
      };
      const running = workThroughPages(
        { ...parts(), composer: slow, conversations: 5, clock: clockFrom(Date.now()) },
        { broadcastId, lane: 0, milliseconds: 60_000 },
        new AbortController().signal,
      );
      await expect(running).rejects.toThrow('not now');
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
      await account.db.query(plain('drop function refuse cascade'));
    }
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  }, 60_000);

  it('is stopped for good also where its messages are being made at that moment', async () => {
    const emails = addresses(60);
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    const composer = createEmailComposer(testUnsubscribing);
    const stop = new AbortController();
    const composed = Promise.withResolvers<void>();
    const held: typeof composer = {
      async compose(of) {
        await composed.promise;
        return composer.compose(of);
      },
    };
    const running = workThroughPages(
      { ...parts(), composer: held, conversations: 5, clock: clockFrom(Date.now()) },
      { broadcastId, lane: 0, milliseconds: 60_000 },
      stop.signal,
    );
    running.catch(() => {});
    await delay(300);
    stop.abort(new Error('the worker stops'));
    composed.resolve();
    await expect(running).rejects.toThrow('the worker stops');
    expect(await sendsOf(account, broadcastId)).toEqual([]);
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  });

  it('with a limit asks for one conversation a turn, and has nobody marked without one', async () => {
    const emails = addresses(5);
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId, { perMinute: 120 });
    let reserved = 0;
    let lent = 0;
    const marked: number[] = [];
    const counting: Mailer = {
      ...mailer,
      async reserve(...of) {
        reserved += 1;
        const conversation = await mailer.reserve(...of);
        if (!conversation.ready) return conversation;
        lent += 1;
        const release = () => {
          lent -= 1;
          conversation.release();
        };
        return { ...conversation, release };
      },
    };
    const running = lane(broadcastId, { by: counting });
    let over = false;
    void running.finally(() => {
      over = true;
    });
    while (!over) {
      await delay(50);
      if (lent > 0) continue;
      const sends = await sendsOf(account, broadcastId);
      if (lent > 0) continue;
      marked.push(sends.filter(({ attempts }) => attempts[0]!.state === 'handing_over').length);
    }
    expect(await running).toEqual({ kind: 'none' });
    expect(reserved).toBe(emails.length);
    // What was said of the last one may be about to be written down.
    expect(Math.max(...marked)).toBeLessThanOrEqual(1);
    expect(marked.length).toBeGreaterThan(3);
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  }, 20_000);

  it('comes to its end by more ways out than there are connections', async () => {
    const emails = Array.from({ length: 6 }, () => addresses(5)).flat();
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId);
    const narrow = testMailer(mail.port, { maxConnections: 2 });
    const each: Mailer = { ...narrow, onlyDestination: null, destinationOf: (domain) => `to:${domain}` };
    expect(await lane(broadcastId, { by: each })).toEqual({ kind: 'none' });
    await narrow.close();
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  }, 20_000);

  it('with a limit leaves its connections to others between its turns', async () => {
    const emails = addresses(8);
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId, { perMinute: 120 });
    const narrow = testMailer(mail.port, { maxConnections: 1 });
    const done = lane(broadcastId, { by: narrow });
    await until('it is under way', () => acceptedOf(emails).length > 0);
    const single = await narrow.reserve('example.net', new AbortController().signal);
    expect(acceptedOf(emails).length).toBeLessThan(emails.length);
    if (single.ready) single.release();
    expect(await done).toEqual({ kind: 'none' });
    await narrow.close();
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  }, 20_000);
});
