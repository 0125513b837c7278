import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { freePort } from '../../tools/embedded/service.ts';
import { createTestAccount, type TestAccount, type TestProspect } from '../support/account.ts';
import type { HeedProcess } from '../support/childProcess.ts';
import { type DnsServer, startDnsServer } from '../support/dnsServer.ts';
import { type Haraka, startHaraka } from '../support/haraka.ts';
import { type MailServer, startMailServer } from '../support/mailServer.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { until } from '../support/until.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

/*
 * Conversations with a mail server that nobody here wrote: the worker as it is run delivers directly to Haraka, the
 * mail server of example.net, over STARTTLS. Haraka passes on to the server with the mailboxes, and what that refuses
 * it reports itself (RFC 3464) to the return address, whose mail server is the worker.
 */

let account: TestAccount;
let temporal: RealTemporal;
let mailboxes: MailServer;
let haraka: Haraka;
let dns: DnsServer;
let worker: HeedProcess;

beforeAll(async () => {
  const inboundPort = await freePort();
  [account, temporal, mailboxes, dns] = await Promise.all([
    createTestAccount(),
    connectToTemporal(),
    startMailServer(),
    startDnsServer({
      'example.net': { MX: [[10, 'mx.example.net']] },
      'mx.example.net': { A: ['127.0.0.1'] },
    }),
  ]);
  await account.setting({ schedule_seconds: [0, 1, 3600] });
  haraka = await startHaraka('mx.example.net', {
    'bounce.example.com': inboundPort,
    others: mailboxes.port,
  });
  worker = await startWorkerProcess(
    { databaseUrl: account.url, temporal, smtpPort: haraka.port, addressKey: account.addressKey },
    {
      HEED_DELIVERY: 'direct',
      HEED_SMTP_URL: '',
      HEED_DIRECT_PORT: String(haraka.port),
      HEED_DIRECT_PRIVATE_ADDRESSES: 'allow',
      HEED_DIRECT_TLS: 'encrypted',
      HEED_DNS_SERVERS: dns.address,
      HEED_RETURN_DOMAIN: 'bounce.example.com',
      HEED_INBOUND_PORT: String(inboundPort),
    },
  );
}, 300_000);
afterAll(async () => {
  await worker?.stop();
  await Promise.all([haraka?.stop(), mailboxes?.close(), dns?.stop(), temporal?.close()]);
  await account?.close();
});
afterEach(() => mailboxes.answer(() => null));

interface Row extends Record<string, unknown> {
  state: string;
  outcome: string | null;
  outcome_reason: string | null;
}

async function rowOf(sendId: string): Promise<Row> {
  const [row] = await account.db.query<Row>(
    plain('select state, outcome, outcome_reason from send where id = $1'),
    [sendId],
  );
  return row!;
}

const attemptsOf = (sendId: string) =>
  account.db.query(
    plain(`select outcome, category, reply_code, enhanced_code, remote_host from attempt where send_id = $1 and state = 'finished'
           order by number`),
    [sendId],
  );

async function comesTo(sendId: string, expected: Partial<Row>): Promise<void> {
  await until(`the send is ${JSON.stringify(expected)}`, async () => {
    const row = await rowOf(sendId);
    return Object.entries(expected).every(([column, value]) => row[column] === value);
  });
}

async function bounced({ id }: TestProspect): Promise<boolean> {
  const [row] = await account.db.query(plain('select bounced from prospect where id = $1'), [id]);
  return row!.bounced;
}

it('it accepts: delivered over STARTTLS, and passed on to the mailbox', async () => {
  const prospect = await account.prospect('jane@example.net');
  const { sendId } = await account.send(prospect);
  await comesTo(sendId, { outcome: 'delivered' });
  expect(await attemptsOf(sendId)).toEqual([
    {
      outcome: 'delivered',
      category: null,
      reply_code: 250,
      enhanced_code: null,
      remote_host: 'mx.example.net [127.0.0.1]',
    },
  ]);
  await until('it is in the mailbox', () => mailboxes.accepted.includes('jane@example.net'));
  // Haraka writes down how the message came to it: encrypted.
  expect(mailboxes.messages.at(-1)).toMatch(/by mx\.example\.net \(Haraka\/\S+\) with ESMTPS /);
  expect(await bounced(prospect)).toBe(false);
});

it('it defers: tried again on the schedule, then delivered, and no flag', async () => {
  const prospect = await account.prospect('later@example.net');
  const { sendId } = await account.send(prospect);
  await comesTo(sendId, { outcome: 'delivered' });
  expect(await attemptsOf(sendId)).toMatchObject([
    { outcome: 'soft_bounce', category: 'mailbox_full', reply_code: 450, enhanced_code: '4.2.2' },
    { outcome: 'delivered' },
  ]);
  expect(await bounced(prospect)).toBe(false);
});

it('it refuses: a hard bounce at once', async () => {
  const prospect = await account.prospect('nobody@example.net');
  const { sendId } = await account.send(prospect);
  await comesTo(sendId, { outcome: 'bounced', outcome_reason: 'user_unknown' });
  expect(await attemptsOf(sendId)).toMatchObject([{ outcome: 'hard_bounce', enhanced_code: '5.1.1' }]);
  expect(await bounced(prospect)).toBe(true);
});

it('I1 I4 it accepts and reports later that the address is dead: Bounced, and the other sends to it end', async () => {
  const known = Promise.withResolvers<void>();
  mailboxes.answer(async () => {
    await known.promise;
    return '550 5.1.1 User unknown';
  });
  const prospect = await account.prospect('once@example.net');
  const first = await account.send(prospect);
  await comesTo(first.sendId, { outcome: 'delivered' });
  const other = await account.send(prospect);
  // Two attempts; the third one is an hour away.
  await until('the other send waits', async () => (await attemptsOf(other.sendId)).length === 2);
  await comesTo(other.sendId, { state: 'waiting' });
  expect(await bounced(prospect)).toBe(false);

  known.resolve();
  await until('Bounced is set', () => bounced(prospect));
  await comesTo(first.sendId, { outcome: 'bounced', outcome_reason: 'user_unknown' });
  await comesTo(other.sendId, { state: 'final', outcome: 'suppressed' });
  expect((await rowOf(other.sendId)).outcome_reason).toContain('bounced');
  const workflow = temporal.client.workflow.getHandle(`emailSend:${other.sendId}`);
  expect(await workflow.result()).toMatchObject({ outcome: 'suppressed' });

  // It came as a report of Haraka's own, to the address that names the first send, by the worker's mail server.
  const [item] = await account.db.query(
    plain(
      `select i.source, i.content, e.kind, e.send_id, e.result from inbound i join delivery_event e on e.inbound_id = i.id`,
    ),
  );
  expect(item).toMatchObject({
    source: 'listener',
    kind: 'hard_bounce',
    send_id: first.sendId,
    result: 'applied',
  });
  expect(String(item!.content)).toMatch(/This is the Haraka Mailer program at mx\.example\.net/);
  expect(String(item!.content)).toMatch(/Content-type: message\/delivery-status/i);
  const third = await account.send(prospect);
  await comesTo(third.sendId, { outcome: 'suppressed' });
  expect(mailboxes.accepted).not.toContain('once@example.net');
});
