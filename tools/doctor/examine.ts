import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import type { Resolver } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { spf } from 'mailauth/lib/spf/index.js';
import { createDnsResolver } from '../../adapters/mailer/direct/dns.ts';
import { isPublicAddress } from '../../adapters/mailer/direct/publicAddress.ts';
import { createReturnPath } from '../../adapters/tokens/returnPath.ts';
import type { SendingConfig } from '../../config/config.ts';
import type { Check } from './check.ts';
import { judgeClock } from './judge/clock.ts';
import { judgeRelay, judgeWayOut } from './judge/conversation.ts';
import { judgeDkimKey, judgeDkimKeys } from './judge/dkim.ts';
import { asksForStrictDkim, type DmarcRecords, judgeDmarc } from './judge/dmarc.ts';
import { judgeEhloName, judgeReverse, unknownAddresses } from './judge/hostNames.ts';
import { organizationalDomain } from './judge/organizationalDomain.ts';
import {
  judgeReturnTrial,
  noReturnDomain,
  returnDomainWithoutKeys,
  returnDomainWithoutServer,
} from './judge/returnDomain.ts';
import { judgeSpf, judgeSpfOfRelay } from './judge/spf.ts';
import { type CertificateFacts, judgeCertificate, judgeTls } from './judge/tls.ts';
import { addressesOf, namesOf, textsOf } from './lookup.ts';
import { findServers, tryRelay, tryReturnServer, trySpeakingTo } from './servers.ts';

/** What a person may say about the set-up that the settings do not tell. */
export interface SetUp {
  readonly config: SendingConfig;
  /** Domains that mail is from. */
  readonly fromDomains: readonly string[];
  /** Addresses that mail leaves from; empty: those of this machine. */
  readonly addresses: readonly string[];
  /** Domain whose mail server is spoken to, to see whether mail can leave; nothing is sent. */
  readonly probe: string;
  /** Whose `Date` the clock is compared with; `null`: not at all. */
  readonly clockUrl: string | null;
  readonly now: Date;
}

/** No send has it: an address made of it changes nothing wherever it goes. */
const NO_SEND = '00000000-0000-0000-0000-000000000000';
/** Servers of the return domain that are tried. */
const MOST_SERVERS = 6;
const CLOCK_MS = 10_000;

/** Looks at everything, in the order in which it is best mended. Sends no message. */
export async function examine(setUp: SetUp): Promise<Check[]> {
  const { config, fromDomains } = setUp;
  const resolver = createDnsResolver(config.dnsServers ?? []);
  const [addresses, dmarc] = await Promise.all([
    config.direct === null ? [] : sendingAddresses(setUp, resolver),
    Promise.all(fromDomains.map((domain) => lookUpDmarc(resolver, domain))),
  ]);
  const groups = await Promise.all([
    config.direct === null
      ? [tryRelay(config).then((failure) => judgeRelay(nameOfRelay(config), failure))]
      : examineDirect(setUp, resolver, addresses),
    examineSpf(setUp, resolver, addresses),
    examineDkim(config, resolver, dmarc),
    dmarc.map(judgeDmarc),
    examineReturnDomain(config, resolver),
    config.listener?.tls ? [examineCertificate(config.smtp.ehloName, config.listener.tls, setUp.now)] : [],
    setUp.clockUrl === null ? [] : [aheadOf(setUp.clockUrl).then(judgeClock)],
  ]);
  return Promise.all(groups.flat());
}

function nameOfRelay({ smtp }: SendingConfig): string {
  return `${smtp.relay!.host}:${smtp.relay!.port}`;
}

function examineDirect(
  { config, probe }: SetUp,
  resolver: Resolver,
  addresses: readonly string[],
): Promise<Check>[] {
  const { ehloName } = config.smtp;
  return [
    trySpeakingTo(config, resolver, probe).then((failure) => judgeWayOut(probe, failure)),
    addressesOf(resolver, ehloName).then((found) => judgeEhloName(ehloName, found)),
    ...(addresses.length === 0 ? [Promise.resolve(unknownAddresses())] : []),
    ...addresses.map((address) =>
      namesOf(resolver, address).then((names) => judgeReverse(address, ehloName, names)),
    ),
  ];
}

/** As given; else the public ones of this machine; else, behind a gateway, those that our name stands for. */
async function sendingAddresses(
  { config, addresses }: SetUp,
  resolver: Resolver,
): Promise<readonly string[]> {
  if (addresses.length > 0) return addresses;
  const versions = (config.direct?.ipVersions ?? []).map((version) => `IPv${version}`);
  const own = Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter(({ address, family }) => versions.includes(family) && isPublicAddress(address))
    .map(({ address }) => address);
  if (own.length > 0) return own;
  const named = await addressesOf(resolver, config.smtp.ehloName);
  return 'records' in named ? named.records : [];
}

/** Of the domain that envelopes come from. */
function examineSpf(
  { config, fromDomains }: SetUp,
  resolver: Resolver,
  addresses: readonly string[],
): Promise<Check>[] {
  const domains = config.returnDomain === null ? fromDomains : [config.returnDomain];
  const { relay, ehloName } = config.smtp;
  if (relay !== null) {
    return domains.map(async (domain) =>
      judgeSpfOfRelay(domain, relay.host, await textsOf(resolver, domain)),
    );
  }
  return domains.flatMap((domain) =>
    addresses.map(async (ip) => {
      const { status, rr } = await spf({
        sender: `postmaster@${domain}`,
        helo: ehloName,
        ip,
        // As the strictest receiver does it.
        strict: true,
        resolver: (name: string, type: string) => resolver.resolve(name, type) as Promise<string[]>,
      });
      return judgeSpf(domain, ip, {
        result: status.result,
        record: rr || null,
        comment: status.comment || null,
      });
    }),
  );
}

function examineDkim(
  { dkimKeys, direct }: SendingConfig,
  resolver: Resolver,
  dmarc: readonly DmarcRecords[],
): (Check | Promise<Check>)[] {
  const keys = dkimKeys.map(({ domain, privateKey }) => ({ domain, type: privateKey.asymmetricKeyType }));
  return [
    ...dmarc.map((records) =>
      judgeDkimKeys(records.domain, keys, {
        isDirect: direct !== null,
        strict: asksForStrictDkim(records),
      }),
    ),
    ...dkimKeys.map(async ({ domain, selector, privateKey }) => {
      const name = `${selector}._domainkey.${domain}`;
      return judgeDkimKey(name, createPublicKey(privateKey), await textsOf(resolver, name));
    }),
  ];
}

async function lookUpDmarc(resolver: Resolver, domain: string): Promise<DmarcRecords> {
  const at = `_dmarc.${domain}`;
  const texts = await textsOf(resolver, at);
  const above = organizationalDomain(domain);
  if ('failure' in texts || texts.records.length > 0 || above === domain) return { domain, at, texts };
  return { domain, at: `_dmarc.${above}`, texts: await textsOf(resolver, `_dmarc.${above}`) };
}

async function examineReturnDomain(config: SendingConfig, resolver: Resolver): Promise<Check[]> {
  const { returnDomain, tokenKeys } = config;
  if (returnDomain === null) return [noReturnDomain()];
  const route = await findServers(config, resolver, returnDomain);
  if (!route.found) return [returnDomainWithoutServer(returnDomain, route.detail)];
  if (tokenKeys === null) return [returnDomainWithoutKeys(returnDomain)];
  const to = createReturnPath({ domain: returnDomain, keys: tokenKeys }).of(NO_SEND);
  const tried = await Promise.all(
    route.servers.slice(0, MOST_SERVERS).map((server) => tryReturnServer(config, server, to)),
  );
  return tried.flatMap(({ trial, tls }) => [
    judgeReturnTrial(returnDomain, trial),
    ...(tls === null ? [] : [judgeTls(tls)]),
  ]);
}

interface PemFiles {
  readonly certificate: string;
  readonly key: string;
}

function examineCertificate(name: string, files: PemFiles, now: Date): Check {
  return judgeCertificate(name, certificateFacts(files, name), now);
}

function certificateFacts(files: PemFiles, name: string): CertificateFacts | string {
  try {
    const certificate = new X509Certificate(readFileSync(files.certificate));
    return {
      matchesName: certificate.checkHost(name) !== undefined,
      matchesKey: certificate.checkPrivateKey(createPrivateKey(readFileSync(files.key))),
      validTo: certificate.validToDate,
    };
  } catch (error) {
    return (error as Error).message;
  }
}

/** Milliseconds by which this machine's clock is ahead, or why nobody knows. */
async function aheadOf(url: string): Promise<number | string> {
  try {
    const before = Date.now();
    const answer = await fetch(url, {
      method: 'HEAD',
      redirect: 'manual',
      signal: AbortSignal.timeout(CLOCK_MS),
    });
    const date = Date.parse(answer.headers.get('date') ?? '');
    if (Number.isNaN(date)) return `${url} tells no time`;
    // It tells whole seconds, and told them somewhere on the way.
    return (before + Date.now()) / 2 - (date + 500);
  } catch (error) {
    const { message, cause } = error as Error;
    return cause instanceof Error ? cause.message : message;
  }
}
