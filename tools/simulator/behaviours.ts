/**
 * What the mailbox simulator does with mail, said by the local part of the recipient, in the manner of the providers'
 * simulator addresses: `behaviour[-n][+anything]@any.domain`. `full-2+alice@example.com` is full twice, then accepts;
 * whatever stands after the plus sign makes a mailbox of its own. An unknown behaviour accepts.
 */

export interface Reply {
  readonly code: number;
  /** With its enhanced status code (RFC 3463). */
  readonly text: string;
}

/** What is done with one recipient in one attempt. */
export type Decision =
  | { readonly kind: 'accept'; readonly delayMs: number }
  | { readonly kind: 'refuse'; readonly at: 'rcpt' | 'data'; readonly reply: Reply }
  /** The connection breaks: while the content is received, or once the message is kept, without a reply. */
  | { readonly kind: 'drop'; readonly at: 'before' | 'after' };

interface Behaviour {
  /** What n means; null where it means nothing. */
  readonly n: string | null;
  readonly meaning: string;
  readonly decide: (attempt: Attempt) => Decision;
}

interface Attempt {
  /** Null where it was not given. */
  readonly n: number | null;
  /** Attempts at this address before this one. */
  readonly earlier: number;
  /** Milliseconds since the first attempt at this address. */
  readonly sinceFirstMs: number;
}

const accept = (delayMs = 0): Decision => ({ kind: 'accept', delayMs });
const refuse = (code: number, text: string, at: 'rcpt' | 'data' = 'rcpt'): Decision => ({
  kind: 'refuse',
  at,
  reply: { code, text },
});

const TIMES = 'n times, then accepted; without n always';

/** Done n times, or always. */
const times =
  (decision: Decision) =>
  ({ n, earlier }: Attempt): Decision =>
    n === null || earlier < n ? decision : accept();

const GREYLIST_SECONDS = 30;

export const behaviours: Readonly<Record<string, Behaviour>> = {
  accept: { n: null, meaning: 'Accepted: 250.', decide: () => accept() },
  full: {
    n: TIMES,
    meaning: 'Mailbox full for now: 452 4.2.2.',
    decide: times(refuse(452, '4.2.2 The recipient mailbox is full, try again later')),
  },
  full5: {
    n: TIMES,
    meaning: 'Mailbox full, told as a permanent error: 552 5.2.2.',
    decide: times(refuse(552, '5.2.2 The recipient mailbox is full and over its quota')),
  },
  greylist: {
    n: `seconds since the first attempt until mail is accepted; ${GREYLIST_SECONDS} without n`,
    meaning: 'Greylisted, with the seconds to wait in the text: 451 4.7.1.',
    decide: ({ n, sinceFirstMs }) => {
      const left = Math.ceil(((n ?? GREYLIST_SECONDS) * 1000 - sinceFirstMs) / 1000);
      return left <= 0 ? accept() : refuse(451, `4.7.1 Greylisted, please try again in ${left} seconds`);
    },
  },
  unknown: {
    n: null,
    meaning: 'No such mailbox: 550 5.1.1.',
    decide: () => refuse(550, '5.1.1 The email account that you tried to reach does not exist'),
  },
  disabled: {
    n: null,
    meaning: 'Mailbox disabled: 550 5.2.1.',
    decide: () => refuse(550, '5.2.1 The email account that you tried to reach is disabled'),
  },
  policy: {
    n: null,
    meaning: 'Not allowed to send there: 550 5.7.1.',
    decide: () => refuse(550, '5.7.1 Message rejected due to the recipient organization policy'),
  },
  content: {
    n: null,
    meaning: 'Refused for what the message says, after its final dot: 554 5.7.1.',
    decide: () => refuse(554, '5.7.1 Message rejected: its content was classified as spam', 'data'),
  },
  ratelimit: {
    n: TIMES,
    meaning: 'The sender is too fast: 421 4.7.0, and the connection is closed.',
    decide: times(refuse(421, '4.7.0 Too many messages from your address, slow down and try again later')),
  },
  listed: {
    n: TIMES,
    meaning: 'The address of the sender is on a block list: 554 5.7.1.',
    decide: times(
      refuse(554, '5.7.1 Service unavailable; client host [127.0.0.1] blocked using dnsbl.example.net'),
    ),
  },
  relaydown: {
    n: TIMES,
    meaning: 'The relay itself has trouble: 421 4.3.2, and the connection is closed.',
    decide: times(refuse(421, '4.3.2 System not accepting network messages')),
  },
  'drop-before': {
    n: TIMES,
    meaning: 'The connection breaks while the content is received; nothing is kept.',
    decide: times({ kind: 'drop', at: 'before' }),
  },
  'drop-after': {
    n: TIMES,
    meaning: 'The message is kept, and the connection breaks without a reply to its final dot.',
    decide: times({ kind: 'drop', at: 'after' }),
  },
  slow: {
    n: 'seconds; 10 without n',
    meaning: 'Accepted, with the reply to the final dot late.',
    decide: ({ n }) => accept((n ?? 10) * 1000),
  },
};

/** The behaviour that an address asks for and its n. Upper and lower case are one. */
export function behaviourOf(address: string): { readonly behaviour: Behaviour; readonly n: number | null } {
  const local = address.slice(0, address.lastIndexOf('@')).toLowerCase();
  const [, name = '', n] = /^([^+]*?)(?:-(\d{1,6}))?(?:\+.*)?$/s.exec(local) ?? [];
  const behaviour = Object.hasOwn(behaviours, name) ? behaviours[name]! : behaviours.accept!;
  return { behaviour, n: n === undefined ? null : Number(n) };
}
