import { type Check, fail, ok, warn } from '../check.ts';

/** What a report to a signed return address would come to at a mail server of the return domain. */
export interface ReturnTrial {
  readonly server: string;
  /** `deferred`: not now, it said. */
  readonly outcome: 'taken' | 'refused' | 'deferred' | 'unreachable';
  readonly detail: string;
}

export function noReturnDomain(): Check {
  return warn(
    'Return domain',
    'none is set',
    'Set HEED_RETURN_DOMAIN, so that every report names its send beyond doubt.',
  );
}

/** @param why the domain has no server to try */
export function returnDomainWithoutServer(domain: string, why: string): Check {
  return fail(
    `Return domain ${domain}`,
    why,
    `Publish an MX record of ${domain} that leads to Heed, or to a server whose mailbox Heed reads.`,
  );
}

export function returnDomainWithoutKeys(domain: string): Check {
  return warn(
    `Return domain ${domain}`,
    'whether it takes reports was not tried: HEED_TOKEN_KEYS is not set here',
    'Run this with the HEED_TOKEN_KEYS that Heed runs with.',
  );
}

export function judgeReturnTrial(domain: string, { server, outcome, detail }: ReturnTrial): Check {
  const subject = `Return domain ${domain}`;
  switch (outcome) {
    case 'taken':
      return ok(subject, `${server} takes mail for a signed return address`);
    case 'refused':
      return fail(
        subject,
        `${server} refuses a signed return address: ${detail}`,
        'Where that is Heed, run this with the same HEED_TOKEN_KEYS; where it is another server, make it take all mail for the domain.',
      );
    case 'deferred':
      return warn(
        subject,
        `${server} does not take mail now: ${detail}`,
        'Try again; where it stays so, look at what that server says.',
      );
    case 'unreachable':
      return warn(
        subject,
        `${server} cannot be reached from here: ${detail}`,
        'Open port 25 to the server that the MX record leads to. From inside its own network it may look closed; then run this elsewhere.',
      );
  }
}
