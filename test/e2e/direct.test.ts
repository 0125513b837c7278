import { generateKeyPairSync } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createReturnPath } from '../../adapters/tokens/returnPath.ts';
import { plain } from '../../db/connection.ts';
import { createTestAccount, type TestAccount } from '../support/account.ts';
import type { HeedProcess } from '../support/childProcess.ts';
import { type DnsServer, startDnsServer } from '../support/dnsServer.ts';
import { type MailServer, startMailServer } from '../support/mailServer.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { until } from '../support/until.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

/*
 * The worker as it is run, delivering to the recipients' own mail servers: real DNS, real SMTP, on loopback.
 */

const dkim = generateKeyPairSync('ed25519');
const published = Buffer.from(dkim.publicKey.export({ format: 'jwk' }).x!, 'base64url').toString('base64');

let account: TestAccount;
let temporal: RealTemporal;
let mail: MailServer;
let dns: DnsServer;
let worker: HeedProcess;

beforeAll(async () => {
  [account, temporal, mail, dns] = await Promise.all([
    createTestAccount(),
    connectToTemporal(),
    startMailServer(),
    startDnsServer({
      'example.net': {
        MX: [
          [10, 'down.example.net'],
          [20, 'mx.example.net'],
        ],
      },
      'down.example.net': { A: ['127.0.0.77'] },
      'mx.example.net': { A: ['127.0.0.1'] },
      'nomail.example': { MX: [[0, '']] },
      'troubled.example': { fails: 'SERVFAIL' },
      's1._domainkey.example.com': { TXT: [`v=DKIM1; k=ed25519; p=${published}`] },
    }),
  ]);
  worker = await startWorkerProcess(
    { databaseUrl: account.url, temporal, smtpPort: mail.port, addressKey: account.addressKey },
    {
      HEED_DELIVERY: 'direct',
      HEED_SMTP_URL: '',
      HEED_DIRECT_PORT: String(mail.port),
      HEED_DIRECT_PRIVATE_ADDRESSES: 'allow',
      HEED_DNS_SERVERS: dns.address,
      HEED_RETURN_DOMAIN: 'bounce.example.com',
      HEED_DKIM_KEYS: `s1._domainkey.example.com=${dkim.privateKey.export({ type: 'pkcs8', format: 'pem' })}`,
    },
  );
});
afterAll(async () => {
  await worker?.stop();
  await Promise.all([mail?.close(), dns?.stop(), temporal?.close()]);
  await account?.close();
});

/** An email to somebody, and how the send stands once the first attempt is over. */
async function attempted(email: string) {
  const prospect = await account.prospect(email);
  const { sendId } = await account.send(prospect);
  const [row] = await until('the first attempt is over', async () => {
    const rows = await account.db.query<Record<string, unknown>>(
      plain(
        `select s.state, s.outcome, a.outcome as attempt, a.category, a.rule, a.fault_ours, a.remote_host, p.bounced
         from send s join attempt a on a.send_id = s.id join prospect p on p.id = s.prospect_id
         where s.id = $1 and a.state = 'finished'`,
      ),
      [sendId],
    );
    return rows.length > 0 ? rows : null;
  });
  return { sendId, ...row };
}

it('an email reaches the second-best server, signed, from a return path that names the send', async () => {
  const send = await attempted('jane@example.net');
  expect(send).toMatchObject({ outcome: 'delivered', remote_host: 'mx.example.net [127.0.0.1]' });
  const at = mail.accepted.indexOf('jane@example.net');
  const keys = [new Uint8Array(32).fill(3)];
  expect(createReturnPath({ domain: 'bounce.example.com', keys }).sendOf(mail.senders[at]!)).toBe(
    send.sendId,
  );

  const message = mail.messages[at]!;
  expect(message).toMatch(/^Feedback-ID: [\w-]+:none:marketing:heedtest\r$/m);
  const resolver = new Resolver();
  resolver.setServers([dns.address]);
  const { results } = await dkimVerify(Buffer.from(message, 'latin1'), {
    resolver: (name, type) => resolver.resolve(name, type) as Promise<string[][]>,
  });
  expect(results).toHaveLength(1);
  expect(results[0]).toMatchObject({
    status: { result: 'pass' },
    signingHeaders: { keys: expect.stringMatching(/List-Unsubscribe-Post/i) },
  });
});

it('a domain that does not exist, or has no mail, is a hard bounce at once', async () => {
  expect(await attempted('jane@gone.example')).toMatchObject({
    outcome: 'bounced',
    attempt: 'hard_bounce',
    category: 'host_unknown',
    rule: 'domain_unknown',
    bounced: true,
  });
  expect(await attempted('jane@nomail.example')).toMatchObject({
    outcome: 'bounced',
    attempt: 'hard_bounce',
    category: 'no_mail_accepted',
    bounced: true,
  });
});

it('a domain whose name servers fail gets its five days', async () => {
  expect(await attempted('jane@troubled.example')).toMatchObject({
    state: 'waiting',
    attempt: 'soft_bounce',
    category: 'network',
    fault_ours: false,
    bounced: false,
  });
});

it('what a server says of a mailbox is believed', async () => {
  mail.answer((recipient) => (recipient.startsWith('nobody') ? '550 5.1.1 no such user' : '452 4.2.2 full'));
  expect(await attempted('nobody@example.net')).toMatchObject({
    outcome: 'bounced',
    category: 'user_unknown',
  });
  expect(await attempted('full@example.net')).toMatchObject({ state: 'waiting', category: 'mailbox_full' });
});
