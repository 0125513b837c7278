import PostalMime from 'postal-mime';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { composeMessage } from '../../../adapters/mailer/compose.ts';
import { startSimulator } from '../../../tools/simulator/simulator.ts';
import { type GreenMail, startGreenMail } from '../../support/greenmail.ts';
import { type MailServer, startMailServer } from '../../support/mailServer.ts';
import { willing } from '../smtp/dialogue.ts';
import { type Neighbourhood, neighbourhood, reserveReady } from './support.ts';

let greenMail: GreenMail;
let smtpServer: MailServer;
const open: Neighbourhood[] = [];

beforeAll(async () => {
  [greenMail, smtpServer] = await Promise.all([startGreenMail(), startMailServer()]);
});

afterAll(async () => {
  for (const each of open) await each.close();
  await greenMail.stop();
  await smtpServer.close();
});

async function mailerTo(port: number) {
  const around = await neighbourhood(port, {
    'example.org': { MX: [[10, 'mx.example.org']] },
    'mx.example.org': { A: ['127.0.0.1'] },
  });
  open.push(around);
  return around.mailer;
}

async function mailTo(to: string) {
  const content = await composeMessage({
    messageId: `<${to}>`,
    date: new Date(),
    from: { name: 'Example', address: 'news@example.com' },
    to,
    subject: 'Grüße',
    html: null,
    text: 'Hello',
  });
  return { from: 'news@example.com', to, content };
}

it('GreenMail (written by others) takes several messages over one connection, found through MX', async () => {
  const mailer = await mailerTo(greenMail.smtpPort);
  for (const name of ['first', 'second', 'third']) {
    const conversation = await reserveReady(mailer, 'example.org');
    const message = await mailTo(`${name}@example.org`);
    expect(await conversation.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
    conversation.release();
    const [stored] = await greenMail.messagesOf(`${name}@example.org`);
    expect(await PostalMime.parse(stored!.mimeMessage)).toMatchObject({ subject: 'Grüße', text: 'Hello\n' });
  }
});

it('smtp-server (written by others) accepts, defers and refuses, each told as it is', async () => {
  const mailer = await mailerTo(smtpServer.port);
  smtpServer.answer((recipient) =>
    recipient.startsWith('full')
      ? '452 4.2.2 mailbox full'
      : recipient.startsWith('nobody')
        ? '550 5.1.1 no such user'
        : null,
  );
  const send = async (to: string) => {
    const conversation = await reserveReady(mailer, 'example.org');
    try {
      return await conversation.transmit(await mailTo(to), willing);
    } finally {
      conversation.release();
    }
  };
  expect(await send('somebody@example.org')).toMatchObject({ kind: 'accepted' });
  expect(await send('full@example.org')).toMatchObject({
    kind: 'refused',
    reply: { code: 452, enhancedCode: '4.2.2' },
  });
  expect(await send('nobody@example.org')).toMatchObject({ kind: 'refused', reply: { code: 550 } });
  expect(await send('another@example.org')).toMatchObject({ kind: 'accepted' });
  expect(smtpServer.accepted).toEqual(['somebody@example.org', 'another@example.org']);
});

it('the mailbox simulator: every behaviour that an attempt can meet ends as it should', async () => {
  const simulator = await startSimulator({ keepMessages: 10 });
  try {
    const mailer = await mailerTo(simulator.smtpPort);
    const send = async (local: string) => {
      const conversation = await reserveReady(mailer, 'example.org');
      try {
        return await conversation.transmit(await mailTo(`${local}@example.org`), willing);
      } finally {
        conversation.release();
      }
    };
    const refused = (code: number, enhancedCode: string) => ({
      kind: 'refused',
      reply: { code, enhancedCode },
    });
    expect(await send('somebody')).toMatchObject({ kind: 'accepted' });
    expect(await send('full')).toMatchObject(refused(452, '4.2.2'));
    expect(await send('unknown')).toMatchObject(refused(550, '5.1.1'));
    expect(await send('policy')).toMatchObject(refused(550, '5.7.1'));
    expect(await send('greylist-7')).toMatchObject(refused(451, '4.7.1'));
    expect(await send('ratelimit')).toMatchObject(refused(421, '4.7.0'));
    // One of them is kept by the simulator, which says nothing of either: nobody here can know which.
    for (const local of ['drop-before', 'drop-after']) {
      expect(await send(local)).toMatchObject({ kind: 'broken', mayHaveBeenTaken: true });
    }
    expect(await send('another')).toMatchObject({ kind: 'accepted' });
    expect(simulator.messages().map(({ recipients }) => recipients[0])).toEqual([
      'somebody@example.org',
      'drop-after@example.org',
      'another@example.org',
    ]);
  } finally {
    await simulator.close();
  }
});
