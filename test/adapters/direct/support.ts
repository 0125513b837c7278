import { Resolver } from 'node:dns/promises';
import { createDirectMailer, type DirectOptions } from '../../../adapters/mailer/direct/directMailer.ts';
import type { Mailer, NoConversation, ReadyConversation } from '../../../adapters/mailer/mailer.ts';
import { type DnsServer, startDnsServer, type Zone } from '../../support/dnsServer.ts';
import { type ScriptedPeer, type ScriptedSmtp, startScriptedSmtp } from '../../support/scriptedSmtp.ts';
import { type Answers, message, playServer, willing } from '../smtp/dialogue.ts';

/** A direct mailer with the DNS and the mail servers that it finds, all on loopback. */
export interface Neighbourhood {
  readonly mailer: Mailer;
  readonly dns: DnsServer;
  close(): Promise<void>;
}

/** Servers are told apart by their address, since all listen on the one port that mail goes to. */
export async function neighbourhood(
  port: number,
  zone: Zone,
  more: Partial<DirectOptions> = {},
): Promise<Neighbourhood> {
  const dns = await startDnsServer(zone);
  const resolver = new Resolver({ timeout: 500, tries: 2 });
  resolver.setServers([dns.address]);
  const mailer = createDirectMailer({
    resolver,
    ipVersions: [4, 6],
    ownNames: ['heed.test'],
    ownAddresses: [],
    allowPrivateAddresses: true,
    port,
    clientName: 'heed.test',
    protection: 'opportunistic',
    findPolicy: async () => null,
    maxConnections: 100,
    perDestination: { connections: 5, messagesPerMinute: 100_000 },
    maxMessagesPerConnection: 100,
    idleMilliseconds: 10_000,
    maxWaiting: 100,
    ...more,
  });
  return {
    mailer,
    dns,
    async close() {
      await mailer.close();
      await dns.stop();
    },
  };
}

/** A scripted mail server at an address of its own. */
export function mailServerAt(
  host: string,
  port: number,
  answers: Answers | ((nth: number) => Answers) = {},
): Promise<ScriptedSmtp> {
  const script = (peer: ScriptedPeer, nth: number) =>
    playServer(peer, typeof answers === 'function' ? answers(nth) : answers);
  return startScriptedSmtp(script, port, host);
}

/** What an honest server without extensions says to EHLO. */
export const PLAIN_EHLO = '250-mail.test\r\n250 8BITMIME\r\n';

export const patient = () => new AbortController().signal;

export async function reserveReady(mailer: Mailer, domain: string): Promise<ReadyConversation> {
  const conversation = await mailer.reserve(domain, patient());
  if (!conversation.ready) throw new Error(`${domain}: ${conversation.phase}: ${conversation.detail}`);
  return conversation;
}

export async function reserveNone(mailer: Mailer, domain: string): Promise<NoConversation> {
  const conversation = await mailer.reserve(domain, patient());
  if (conversation.ready) throw new Error(`${domain} was reached at ${conversation.remoteHost}`);
  return conversation;
}

/** One message to somebody of the domain. */
export async function sendTo(mailer: Mailer, domain: string) {
  const conversation = await reserveReady(mailer, domain);
  try {
    return await conversation.transmit({ ...message, to: `person@${domain}` }, willing);
  } finally {
    conversation.release();
  }
}
