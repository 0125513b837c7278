import { networkInterfaces } from 'node:os';
import { performance } from 'node:perf_hooks';
import { createDkimSigner } from '../adapters/dkim/signer.ts';
import { createCompiledComposer } from '../adapters/mailer/compiledComposer.ts';
import type { EmailComposer } from '../adapters/mailer/composer.ts';
import { createEmailComposer } from '../adapters/mailer/createComposer.ts';
import { createDirectMailer } from '../adapters/mailer/direct/directMailer.ts';
import { createDnsResolver } from '../adapters/mailer/direct/dns.ts';
import { createMtaSts } from '../adapters/mailer/direct/mtaSts.ts';
import type { Mailer } from '../adapters/mailer/mailer.ts';
import { createSigningComposer } from '../adapters/mailer/signingComposer.ts';
import { createSmartHostMailer } from '../adapters/mailer/smartHostMailer.ts';
import { createUnsubscribing } from '../adapters/mailer/unsubscribing.ts';
import { createReturnPath } from '../adapters/tokens/returnPath.ts';
import { createUnsubscribeTokens } from '../adapters/tokens/unsubscribeTokens.ts';
import type { Config } from '../config/config.ts';

/**
 * Who may wait for one destination at a time, of the 100 attempts that a worker has in the air: some slow domains leave
 * room for the others.
 */
const MAX_WAITING = 10;

/** The way that mail leaves by, as configured. */
export function createMailer({ smtp, direct, dnsServers }: Config): Mailer {
  const connections = {
    clientName: smtp.ehloName,
    maxMessagesPerConnection: smtp.messagesPerConnection,
    idleMilliseconds: smtp.idleSeconds * 1_000,
  };
  if (direct === null) {
    return createSmartHostMailer({ ...smtp.relay!, ...connections, maxConnections: smtp.maxConnections });
  }
  const { tls, ...limits } = direct;
  const resolver = createDnsResolver(dnsServers ?? []);
  const interfaces = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return createDirectMailer({
    ...limits,
    ...connections,
    protection: tls,
    maxWaiting: MAX_WAITING,
    resolver,
    findPolicy: createMtaSts({
      resolver,
      allowPrivateAddresses: direct.allowPrivateAddresses,
      clock: () => performance.now(),
    }),
    ownNames: [smtp.ehloName.toLowerCase()],
    ownAddresses: interfaces.map(({ address }) => address),
  });
}

/** What makes the messages, with all that tells who sends them. */
export function createComposer(config: Config): EmailComposer {
  const { tokenKeys, publicUrl, unsubscribeMailbox, messageIdDomain, returnDomain, dkimKeys } = config;
  const unsubscribing = createUnsubscribing({
    tokens: createUnsubscribeTokens(tokenKeys),
    publicUrl,
    mailbox: unsubscribeMailbox,
    listDomain: messageIdDomain,
  });
  // For single sends too: every attempt of a send is the same message, whoever makes it.
  const composer = createCompiledComposer(createEmailComposer(unsubscribing), unsubscribing);
  return createSigningComposer(composer, {
    returnPath: returnDomain === null ? null : createReturnPath({ domain: returnDomain, keys: tokenKeys }),
    dkim: createDkimSigner(dkimKeys),
    senderDomain: messageIdDomain,
    provider: config.smtp.provider,
  });
}
