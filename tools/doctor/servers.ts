import type { Resolver } from 'node:dns/promises';
import { performance } from 'node:perf_hooks';
import { Exchangers, type Protection } from '../../adapters/mailer/direct/exchangers.ts';
import { type Route, Routes, type Server } from '../../adapters/mailer/direct/routes.ts';
import { openSession } from '../../adapters/smtp/open.ts';
import type { SmtpSession } from '../../adapters/smtp/session.ts';
import type { SendingConfig } from '../../config/config.ts';
import type { ConversationFailure } from './judge/conversation.ts';
import type { ReturnTrial } from './judge/returnDomain.ts';
import type { TlsTrial } from './judge/tls.ts';

const TIMEOUTS = { connect: 10_000, greeting: 20_000, ehlo: 20_000, starttls: 20_000, auth: 20_000 };
const NEVER = new AbortController().signal;
const clock = () => performance.now();

/** Greets and authenticates at the relay, and leaves. */
export async function tryRelay({ smtp }: SendingConfig): Promise<ConversationFailure | null> {
  const result = await openSession({ ...smtp.relay!, clientName: smtp.ehloName, timeouts: TIMEOUTS });
  if (!result.opened) return result;
  await result.session.quit();
  return null;
}

/** Mail servers of a domain. Our own ones are asked too, so private addresses are no reason to refuse here. */
export function findServers(config: SendingConfig, resolver: Resolver, domain: string): Promise<Route> {
  const ipVersions = config.direct?.ipVersions ?? [4, 6];
  const options = { resolver, ipVersions, ownNames: [], ownAddresses: [], allowPrivateAddresses: true };
  return new Routes(options, clock).find(domain);
}

/** Greets the mail servers of somebody's domain, as a delivery would, and leaves. */
export async function trySpeakingTo(
  config: SendingConfig,
  resolver: Resolver,
  domain: string,
): Promise<ConversationFailure | null> {
  const route = await findServers(config, resolver, domain);
  if (!route.found) return { phase: 'DNS', detail: route.detail };
  const result = await exchangersOf(config).open(route.servers, config.direct!.tls, NEVER);
  if (!result.opened) return result;
  await result.session.quit();
  return null;
}

/** Asks a server of the return domain whether it would take a report, up to RCPT TO and no further. */
export async function tryReturnServer(
  config: SendingConfig,
  server: Server,
  returnAddress: string,
): Promise<{ trial: ReturnTrial; tls: TlsTrial | null }> {
  const name = `${server.host} [${server.address}]`;
  const opened = await openAsWellAsPossible(exchangersOf(config), server);
  if (!('session' in opened)) {
    const trial: ReturnTrial = { server: name, outcome: 'unreachable', detail: opened.failure };
    return { trial, tls: null };
  }
  const { session, protection, detail } = opened;
  const outcome = await tryRecipient(session, returnAddress);
  await session.quit();
  return {
    trial: { server: name, ...outcome },
    tls: { server: name, protection: protection === 'opportunistic' ? 'none' : protection, detail },
  };
}

async function tryRecipient(session: SmtpSession, to: string): Promise<Omit<ReturnTrial, 'server'>> {
  const end = await session.transmit(
    { from: '', to, content: Buffer.from('Subject: not sent\r\n\r\n') },
    { mayBegin: () => true, beforeHandOver: async () => false },
  );
  switch (end.kind) {
    case 'not_begun':
    case 'accepted':
      return { outcome: 'taken', detail: '' };
    case 'refused': {
      const { code, text } = end.reply;
      return { outcome: code < 500 ? 'deferred' : 'refused', detail: `${code} ${text}` };
    }
    case 'broken':
      return { outcome: 'unreachable', detail: end.detail };
    case 'unsendable':
      return { outcome: 'refused', detail: end.detail };
  }
}

/** The best protection that a server is capable of, and what stood in the way of better. */
async function openAsWellAsPossible(
  exchangers: Exchangers,
  server: Server,
): Promise<{ session: SmtpSession; protection: Protection; detail: string } | { failure: string }> {
  let detail = '';
  for (const protection of ['verified', 'encrypted', 'opportunistic'] as const) {
    const result = await exchangers.open([server], protection, NEVER);
    if (result.opened) return { session: result.session, protection, detail };
    detail = result.detail;
    if (result.phase !== 'starttls') break;
  }
  return { failure: detail };
}

function exchangersOf({ smtp, direct }: SendingConfig): Exchangers {
  return new Exchangers({ port: direct?.port ?? 25, clientName: smtp.ehloName, timeouts: TIMEOUTS }, clock);
}
