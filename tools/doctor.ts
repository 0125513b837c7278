// Looks at a sending set-up and says what to fix: `npm run -s doctor`. Sends no message.
// Ends with 0, with 1 where something has to be fixed, with 2 for wrong arguments, with 78 for wrong settings.
import { isIP, isIPv6 } from 'node:net';
import { domainToASCII } from 'node:url';
import { parseArgs } from 'node:util';
import { configOrExit, loadSendingConfig, type SendingConfig } from '../config/config.ts';
import type { Check } from './doctor/check.ts';
import { examine } from './doctor/examine.ts';

const USAGE = `Usage: npm run -s doctor -- [options]
  --from DOMAIN     domain that mail is from, also several times (else those of the DKIM keys, else of Message-IDs)
  --address IP      address that mail leaves from, also several times (else those of this machine)
  --probe DOMAIN    whose mail server is asked whether mail can leave (else gmail.com); nothing is sent
  --clock URL|none  whose time the clock is compared with (else https://www.iana.org/)
  --json            one line of JSON instead of text`;

const MARKS = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' } as const;

function argumentsOrExit() {
  try {
    const { from, address, probe, ...values } = parseArgs({
      options: {
        from: { type: 'string', multiple: true },
        address: { type: 'string', multiple: true },
        probe: { type: 'string', default: 'gmail.com' },
        clock: { type: 'string', default: 'https://www.iana.org/' },
        json: { type: 'boolean', default: false },
      },
    }).values;
    return {
      ...values,
      from: from?.map(domainOf),
      addresses: address?.map(addressOf) ?? [],
      probe: domainOf(probe),
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}\n`);
    process.exit(2);
  }
}

/** An address is taken for its domain. */
function domainOf(given: string): string {
  const domain = domainToASCII(given.slice(given.lastIndexOf('@') + 1));
  if (!/^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/.test(domain)) throw new Error(`This is no domain: ${given}`);
  return domain;
}

/** In the form in which DNS answers are compared with it. */
function addressOf(given: string): string {
  if (isIP(given) === 0) throw new Error(`This is no IP address: ${given}`);
  return isIPv6(given) ? new URL(`http://[${given}]`).hostname.slice(1, -1) : given;
}

function fromDomainsOf({ dkimKeys, messageIdDomain }: SendingConfig): string[] {
  const signed = new Set(dkimKeys.map(({ domain }) => domain));
  return signed.size > 0 ? [...signed] : [messageIdDomain.toLowerCase()];
}

function textOf(checks: readonly Check[]): string {
  const lines = checks.flatMap(({ status, subject, found, fix }) => [
    `${MARKS[status]}  ${subject}: ${found}`,
    ...(fix === null ? [] : [`      ${fix}`]),
  ]);
  const count = (status: Check['status']) => checks.filter((check) => check.status === status).length;
  return [...lines, '', `${count('ok')} ok, ${count('warn')} to look at, ${count('fail')} to fix`].join('\n');
}

const given = argumentsOrExit();
const config = configOrExit(() => loadSendingConfig());
const checks = await examine({
  config,
  fromDomains: given.from ?? fromDomainsOf(config),
  addresses: given.addresses,
  probe: given.probe,
  clockUrl: given.clock === 'none' ? null : given.clock,
  now: new Date(),
});
const failed = checks.some(({ status }) => status === 'fail');
process.stdout.write(`${given.json ? JSON.stringify({ ok: !failed, checks }) : textOf(checks)}\n`);
process.exit(failed ? 1 : 0);
