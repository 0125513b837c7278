/** The people of the demo: what the mailbox simulator does with each is said by their addresses. */

export const EXPECTED = {
  delivered: 'delivered at the first attempt',
  retried: 'soft-bounced, retried, then delivered',
  bounced: 'hard-bounced: the address is dead',
  exhausted: 'exhausted: soft-bounced to the end of the schedule',
  rejected: 'rejected: a permanent no to the message',
  refused: 'refused: had opted out before',
  stopped: 'stopped by an opt-out while waiting for a retry',
  unknown: 'unknown: the connection broke when the message may have been taken',
} as const;

interface Group {
  readonly behaviour: string;
  readonly count: number;
  readonly optedOut?: boolean;
}

/** 2,000 people in all. */
const GROUPS: readonly Group[] = [
  { behaviour: 'accept', count: 1_450 },
  { behaviour: 'full-1', count: 150 },
  { behaviour: 'full-3', count: 100 },
  { behaviour: 'greylist-5', count: 50 },
  { behaviour: 'drop-before-1', count: 20 },
  { behaviour: 'full', count: 120 },
  { behaviour: 'unknown', count: 60 },
  { behaviour: 'policy', count: 20 },
  { behaviour: 'drop-after', count: 10 },
  { behaviour: 'accept', count: 20, optedOut: true },
];

/** A CSV file as an export from elsewhere looks. */
export function csvOfPeople(): string {
  const lines = ['Email Address,First Name,Company,Email Opt Out'];
  let number = 0;
  for (const { behaviour, count, optedOut } of GROUPS) {
    for (let i = 0; i < count; i += 1) {
      number += 1;
      lines.push(
        `${behaviour}+person${number}@example.com,Person ${number},Example ${number % 50},${optedOut ? 'yes' : ''}`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}
