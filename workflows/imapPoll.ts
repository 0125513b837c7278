import { continueAsNew, proxyActivities, workflowInfo } from '@temporalio/workflow';
import type { InboundActivities } from '../activities/inbound.ts';

const { pollInboundMailbox } = proxyActivities<InboundActivities>({
  // A page of 2,000 messages of a megabyte each, over a slow line.
  startToCloseTimeout: '30 minutes',
  // It beats after each message, and one takes as long as the server wants.
  heartbeatTimeout: '1 minute',
  // The next poll comes anyway, and a mailbox that is down is not helped by asking often.
  retry: { initialInterval: '2 seconds', maximumInterval: '30 seconds', maximumAttempts: 3 },
});

export interface ImapPollInput {
  /** What earlier runs of this poll, whose history had grown too long, had kept. */
  readonly kept: number;
}

/** Fetches the mailbox's new messages, page by page until there are none. Started by a Schedule, never twice at once. */
export async function imapPoll(input?: ImapPollInput): Promise<{ kept: number }> {
  let kept = input?.kept ?? 0;
  for (;;) {
    const page = await pollInboundMailbox({ now: Date.now() });
    kept += page.kept;
    if (!page.more) return { kept };
    if (workflowInfo().continueAsNewSuggested) await continueAsNew<typeof imapPoll>({ kept });
  }
}
