import { type Check, fail, ok, warn } from '../check.ts';

/** Where a conversation with a mail server ended that should have come about. */
export interface ConversationFailure {
  /** `DNS`, or a phase of SMTP. */
  readonly phase: string;
  readonly detail: string;
}

/** @param failure `null` where a conversation came about */
export function judgeRelay(relay: string, failure: ConversationFailure | null): Check {
  const subject = `Smart host ${relay}`;
  if (failure === null) return ok(subject, 'it takes mail from us');
  const fixes: Readonly<Record<string, string>> = {
    connect: 'Look at host and port of HEED_SMTP_URL, and whether a firewall lets the connection out.',
    starttls: 'Look at tls= of HEED_SMTP_URL and at the certificate of the server.',
    auth: 'Look at user and password of HEED_SMTP_URL; special characters in them are percent-encoded.',
  };
  return fail(
    subject,
    `${failure.phase}: ${failure.detail}`,
    fixes[failure.phase] ?? 'Ask the owner of the server why it refuses this machine.',
  );
}

/** @param failure `null` where a mail server of `probe` could be spoken to */
export function judgeWayOut(probe: string, failure: ConversationFailure | null): Check {
  const subject = `Way out, to ${probe}`;
  if (failure === null) return ok(subject, 'its mail server speaks to us');
  const { phase, detail } = failure;
  switch (phase) {
    case 'connect':
      return fail(
        subject,
        detail,
        'Have whoever runs the network open outgoing port 25; many keep it closed until asked. Else use a relay.',
      );
    case 'DNS':
      return warn(subject, detail, 'Name a domain that has mail with --probe, or look at HEED_DNS_SERVERS.');
    case 'starttls':
      return warn(
        subject,
        `${phase}: ${detail}`,
        'HEED_DIRECT_TLS asks for more than this server has; try another one with --probe.',
      );
    default:
      return warn(
        subject,
        `${phase}: ${detail}`,
        'Its answer may name a blocklist: look the address up there.',
      );
  }
}
