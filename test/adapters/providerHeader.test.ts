import PostalMime from 'postal-mime';
import { expect, it } from 'vitest';
import { createDkimSigner } from '../../adapters/dkim/signer.ts';
import type { EmailToCompose } from '../../adapters/mailer/composer.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import { createSigningComposer } from '../../adapters/mailer/signingComposer.ts';
import type { SmtpProvider } from '../../domain/providerHeader.ts';
import { testUnsubscribing } from '../support/unsubscribing.ts';

const SEND = '01890a5d-ac96-774b-bcce-b302099a8057';
const email: EmailToCompose = {
  sendId: SEND,
  kind: 'marketing',
  listId: null,
  messageId: `<${SEND}@heed.test>`,
  createdAt: new Date('2026-03-02T10:00:00Z'),
  recipient: 'ada@example.net',
  email: {
    id: '01890a5d-ac96-774b-bcce-b302099a8058',
    version: 1,
    subject: 'News',
    fromName: null,
    fromAddress: 'news@example.com',
    replyTo: null,
    html: null,
    text: 'Hello',
  },
  prospect: { custom: {} },
};

async function headersBy(provider: SmtpProvider | null): Promise<Map<string, string>> {
  const composer = createSigningComposer(createEmailComposer(testUnsubscribing), {
    returnPath: null,
    dkim: createDkimSigner([]),
    senderDomain: 'heed.test',
    provider,
  });
  const composed = await composer.compose(email);
  if (!composed.ok) throw new Error(composed.problem);
  const { headers } = await PostalMime.parse(composed.message.content);
  return new Map(headers.map(({ key, value }) => [key, value]));
}

it.each([
  ['sendgrid', 'x-smtpapi', { unique_args: { heed_send: SEND } }],
  ['mailgun', 'x-mailgun-variables', { heed_send: SEND }],
] as const)('by %s the message names its send in the header %s', async (provider, name, expected) => {
  expect(JSON.parse((await headersBy(provider)).get(name)!)).toEqual(expected);
});

it('by Postmark it names it in the metadata heed_send', async () => {
  expect((await headersBy('postmark')).get('x-pm-metadata-heed_send')).toBe(SEND);
});

it('otherwise it has no header of any provider', async () => {
  const names = [...(await headersBy(null)).keys()];
  expect(names.filter((name) => /^x-(smtpapi|mailgun|pm-)/.test(name))).toEqual([]);
});
