import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type LaneEnd, workThroughPages } from '../../activities/broadcast/pages.ts';
import { clockFrom } from '../../activities/clock.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import type { DirectOptions } from '../../adapters/mailer/direct/directMailer.ts';
import { plain } from '../../db/connection.ts';
import { nextBroadcastStep } from '../../db/queries/broadcasts.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { type Neighbourhood, neighbourhood } from '../adapters/direct/support.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { listOf, readyBroadcast, sendsOf } from '../support/broadcasting.ts';
import type { Zone } from '../support/dnsServer.ts';
import { type MailServer, startMailServer } from '../support/mailServer.ts';
import { testUnsubscribing } from '../support/unsubscribing.ts';
import { until } from '../support/until.ts';

/* Lanes of broadcasts whose mail goes to the servers of each recipient's domain: real DNS, real SMTP, on loopback. */

let account: TestAccount;
let mail: MailServer;
let around: Neighbourhood | undefined;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
  mail = await startMailServer();
});
afterEach(async () => {
  mail.answer(() => null);
  await around?.mailer.close();
  await around?.dns.stop();
  around = undefined;
});
afterAll(async () => {
  await mail?.close();
  await account?.close();
});

/** So many addresses of a domain whose mail goes to the server of these tests. */
function people(zone: Zone, count: number, exchanger?: string): string[] {
  counter += 1;
  const domain = `d${counter}.example.net`;
  const host = exchanger ?? `mx.${domain}`;
  zone[domain] = { MX: [[10, host]] };
  zone[host] ??= { A: ['127.0.0.1'] };
  return Array.from({ length: count }, (_, index) => `person${index}@${domain}`);
}

async function ready(zone: Zone, emails: readonly string[], limits: Partial<DirectOptions> = {}) {
  around = await neighbourhood(mail.port, zone, limits);
  const { listId } = await listOf(account, emails);
  return readyBroadcast(account, listId);
}

/** One lane of its workflow. */
function lane(
  broadcastId: string,
  { milliseconds = 60_000, at = new Date(), stop = new AbortController() } = {},
): Promise<LaneEnd> {
  return workThroughPages(
    {
      db: account.db,
      mailer: around!.mailer,
      composer: createEmailComposer(testUnsubscribing),
      messageIdDomain: 'heed.test',
      conversations: 5,
      clock: clockFrom(at.getTime()),
    },
    { broadcastId, lane: 0, milliseconds },
    stop.signal,
  );
}

const acceptedOf = (emails: readonly string[]) =>
  mail.accepted.filter((address) => emails.includes(address)).sort();

/** Everybody has one copy, from their first attempt, and nobody has a workflow. */
async function expectAllSent(broadcastId: string, emails: readonly string[]) {
  expect(acceptedOf(emails)).toEqual([...emails].sort());
  const sends = await sendsOf(account, broadcastId);
  expect(sends).toHaveLength(emails.length);
  for (const send of sends) {
    expect(send).toMatchObject({
      outcome: 'delivered',
      run: 0,
      attempts: [{ number: 1, outcome: 'delivered' }],
    });
  }
}

describe('lanes that deliver directly', () => {
  it('reach the people of many domains, with servers of their own and shared ones', async () => {
    const zone: Zone = {};
    const emails = [
      ...Array.from({ length: 30 }, () => people(zone, 3)),
      ...Array.from({ length: 20 }, () => people(zone, 4, 'mx.shared.example.net')),
      people(zone, 200),
    ].flat();
    const broadcastId = await ready(zone, emails);
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    await expectAllSent(broadcastId, emails);
  });

  it('wait where servers take no more for now, and send to nobody by another way', async () => {
    const zone: Zone = {};
    const emails = people(zone, 120);
    const broadcastId = await ready(zone, emails, {
      maxWaiting: 1,
      perDestination: { connections: 2, messagesPerMinute: 1_200 },
    });
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    await expectAllSent(broadcastId, emails);
  }, 60_000);

  it('reach servers whose turns are further apart than a decision holds', async () => {
    const zone: Zone = {};
    const emails = people(zone, 4);
    const broadcastId = await ready(zone, emails, {
      perDestination: { connections: 2, messagesPerMinute: 20 },
    });
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    await expectAllSent(broadcastId, emails);
  }, 60_000);

  it('keep nobody waiting for the people of a slow domain, and come back for those', async () => {
    const zone: Zone = {};
    const slow = people(zone, 700);
    const others = Array.from({ length: 100 }, () => people(zone, 2)).flat();
    // Half of each page, as in a list of people who came one after the other.
    const emails = slow.flatMap((one, index) => [one, ...others.slice(index * 2, index * 2 + 2)]);
    const broadcastId = await ready(zone, emails, {
      perDestination: { connections: 2, messagesPerMinute: 600 },
    });
    const whileSlow = lane(broadcastId, { milliseconds: 8_000 });
    await until('the others have theirs', () => acceptedOf(others).length === others.length);
    expect(acceptedOf(slow).length).toBeLessThan(slow.length);
    expect(await whileSlow).toEqual({ kind: 'more' });
    const begun = await sendsOf(account, broadcastId);
    expect(begun.length).toBeLessThan(emails.length);
    // A few were gated when its time was over; nobody has a workflow, and nobody is marked.
    const rest = begun.filter(({ outcome }) => outcome !== 'delivered');
    expect(rest.length).toBeLessThan(10);
    for (const one of rest) expect(one).toMatchObject({ run: 0, attempts: [{ number: 1, state: 'gated' }] });
    const step = await account.db.transaction((tx) => nextBroadcastStep(tx, new Date(), broadcastId, 1));
    expect(step.kind).toBe('send');
  }, 60_000);

  it('come to everybody else, though the first pages are all of a slow domain', async () => {
    const zone: Zone = {};
    const slow = people(zone, 1_600);
    const others = Array.from({ length: 40 }, () => people(zone, 2)).flat();
    const emails = [...slow, ...others];
    const broadcastId = await ready(zone, emails, {
      perDestination: { connections: 2, messagesPerMinute: 60 },
    });
    const stop = new AbortController();
    const running = lane(broadcastId, { stop });
    running.catch(() => {});
    await until('the others have theirs', () => acceptedOf(others).length === others.length);
    expect(acceptedOf(slow).length).toBeLessThan(100);
    stop.abort(new Error('seen enough'));
    await expect(running).rejects.toThrow('seen enough');
  }, 60_000);

  it('come to everybody else, though several domains are slow', async () => {
    const zone: Zone = {};
    const slow = Array.from({ length: 5 }, () => people(zone, 300));
    const others = Array.from({ length: 150 }, () => people(zone, 2)).flat();
    const emails = others.flatMap((one, index) => [one, ...slow.map((domain) => domain[index]!)]);
    const broadcastId = await ready(zone, emails, {
      perDestination: { connections: 2, messagesPerMinute: 120 },
    });
    const stop = new AbortController();
    const running = lane(broadcastId, { stop });
    running.catch(() => {});
    await until('the others have theirs', () => acceptedOf(others).length === others.length);
    expect(acceptedOf(slow.flat()).length).toBeLessThan(slow.flat().length / 2);
    stop.abort(new Error('seen enough'));
    await expect(running).rejects.toThrow('seen enough');
  }, 60_000);

  it('with a limit send the last one of a domain whose turns are far apart, too', async () => {
    const zone: Zone = {};
    const emails = people(zone, 3);
    around = await neighbourhood(mail.port, zone, {
      perDestination: { connections: 2, messagesPerMinute: 20 },
    });
    const { listId } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId, { perMinute: 600 });
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    await expectAllSent(broadcastId, emails);
  }, 60_000);

  it('take nothing of the limit for those who are refused', async () => {
    const zone: Zone = {};
    const emails = Array.from({ length: 40 }, () => people(zone, 1)).flat();
    around = await neighbourhood(mail.port, zone);
    const { listId, prospectIds } = await listOf(account, emails);
    const broadcastId = await readyBroadcast(account, listId, { perMinute: 600 });
    for (const [index, id] of prospectIds.entries()) {
      if (index % 2 === 1) continue;
      await account.db.transaction((tx) => setFlags(tx, ORIGIN, new Date(), id, { emailOptOut: true }));
    }
    const [before] = await account.db.query<{ now: Date }>(plain('select clock_timestamp() as now'));
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    expect(acceptedOf(emails)).toHaveLength(20);
    const [row] = await account.db.query<{ until: Date; now: Date }>(
      plain('select paced_until as until, clock_timestamp() as now from broadcast where id = $1'),
      [broadcastId],
    );
    // Twenty turns of a tenth of a second, and what was taken together with them; forty would be four seconds.
    const [turns, passed] = [row!.until, row!.now].map((at) => at.getTime() - before!.now.getTime());
    expect(turns!).toBeLessThan(Math.max(3_000, passed! + 1_000));
  }, 60_000);

  it('leave those for later whose servers refuse us, and wait with them', async () => {
    const zone: Zone = {};
    const refusing = people(zone, 20);
    const others = people(zone, 20);
    mail.answer((recipient) =>
      refusing.includes(recipient) ? '554 5.7.1 your IP is on a block list, see Spamhaus' : null,
    );
    const broadcastId = await ready(zone, [...refusing, ...others], {
      perDestination: { connections: 1, messagesPerMinute: 100_000 },
    });
    expect(await lane(broadcastId)).toEqual({ kind: 'none' });
    expect(acceptedOf(others)).toEqual([...others].sort());
    const sends = await sendsOf(account, broadcastId);
    const touched = sends.filter(({ recipient }) => refusing.includes(recipient));
    // Some were refused before the first refusal was known; nobody is tried again and again.
    expect(touched.length).toBeLessThan(refusing.length);
    const step = await account.db.transaction((tx) => nextBroadcastStep(tx, new Date(), broadcastId, 1));
    expect(step).toMatchObject({ kind: 'wait' });

    mail.answer(() => null);
    const { until: opens } = step as { until: Date };
    expect(await lane(broadcastId, { at: opens })).toEqual({ kind: 'none' });
    const waiting = await account.db.query<{ recipient: string }>(
      plain(`select recipient from send where broadcast_id = $1 and state = 'waiting'`),
      [broadcastId],
    );
    const delivered = acceptedOf(refusing);
    expect([...delivered, ...waiting.map((row) => row.recipient)].sort()).toEqual([...refusing].sort());
  });
});
