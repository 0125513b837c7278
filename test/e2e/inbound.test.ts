import { afterAll, beforeAll, expect, it } from 'vitest';
import { createReturnPath } from '../../adapters/tokens/returnPath.ts';
import { plain } from '../../db/connection.ts';
import { IMAP_POLL_SCHEDULE_ID } from '../../domain/processes.ts';
import { freePort } from '../../tools/embedded/service.ts';
import { createTestAccount, type TestAccount } from '../support/account.ts';
import type { HeedProcess } from '../support/childProcess.ts';
import { type GreenMail, startGreenMail } from '../support/greenmail.ts';
import { BOUNCES, deliver, deliverToGreenMail, dsn } from '../support/inbound.ts';
import { type MailServer, startMailServer } from '../support/mailServer.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { until } from '../support/until.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

/*
 * The worker as it is run: an email leaves, and what comes back about it, by SMTP and from a mailbox, sets what it must.
 */

let account: TestAccount;
let temporal: RealTemporal;
let mail: MailServer;
let greenMail: GreenMail;
let worker: HeedProcess;
let inboundPort: number;
beforeAll(async () => {
  [account, temporal, mail, greenMail, inboundPort] = await Promise.all([
    createTestAccount(),
    connectToTemporal(),
    startMailServer(),
    startGreenMail([BOUNCES.account]),
    freePort(),
  ]);
  worker = await startWorkerProcess(
    {
      databaseUrl: account.url,
      temporal,
      smtpPort: mail.port,
      addressKey: account.addressKey,
    },
    {
      HEED_RETURN_DOMAIN: 'bounce.example.com',
      HEED_INBOUND_PORT: String(inboundPort),
      HEED_IMAP_URL: `imap://bounces:secret@127.0.0.1:${greenMail.imapPort}/INBOX?tls=none`,
      HEED_IMAP_POLL_SECONDS: '1',
    },
  );
});
afterAll(async () => {
  await worker?.stop();
  await Promise.all([mail?.close(), greenMail?.stop(), temporal?.close()]);
  await account?.close();
});

/** An email to somebody, delivered. */
async function sent(email: string) {
  const prospect = await account.prospect(email);
  const { sendId } = await account.send(prospect);
  await until('the email is delivered', async () => {
    const [row] = await account.db.query(plain('select outcome from send where id = $1'), [sendId]);
    return row!.outcome === 'delivered';
  });
  return { sendId, prospectId: prospect.id };
}

async function bounced(prospectId: string): Promise<boolean> {
  const [row] = await account.db.query(plain('select bounced from prospect where id = $1'), [prospectId]);
  return row!.bounced;
}

const returnPath = createReturnPath({ domain: 'bounce.example.com', keys: [new Uint8Array(32).fill(3)] });

it('a bounce that comes by SMTP, from whatever server, sets Bounced', async () => {
  const { sendId, prospectId } = await sent('by-smtp@example.net');
  expect(await deliver(inboundPort, returnPath.of(sendId), dsn({}))).toMatch(/^250 /);
  await until('Bounced is set', () => bounced(prospectId));
});

it('a bounce that comes to a mailbox sets Bounced', async () => {
  const { sendId, prospectId } = await sent('by-imap@example.net');
  await deliverToGreenMail(greenMail, `Delivered-To: ${returnPath.of(sendId)}\r\n${dsn({})}`);
  await until('Bounced is set', () => bounced(prospectId));
  const schedule = await temporal.client.schedule.getHandle(IMAP_POLL_SCHEDULE_ID).describe();
  expect(schedule.policies.overlap).toBe('SKIP');
});
