import { defineSearchAttributeKey, type SearchAttributeUpdatePair } from '@temporalio/common';
import { setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { AttemptResult, AttemptSummary } from '../activities/delivery.ts';
import type { EmailSendResult } from './emailSend.ts';

/*
 * What an operator sees in the Temporal UI. A send that is delivered at once writes nothing: the attributes are upserted
 * only once a send is in trouble, so that a query finds these and the happy path costs no event.
 */

const STATE = defineSearchAttributeKey('HeedState', 'KEYWORD');
const CATEGORY = defineSearchAttributeKey('HeedCategory', 'KEYWORD');
const REPLY = defineSearchAttributeKey('HeedReply', 'KEYWORD');
const RECIPIENT_DOMAIN = defineSearchAttributeKey('HeedRecipientDomain', 'KEYWORD');
const ATTEMPTS = defineSearchAttributeKey('HeedAttempts', 'INT');
const NEXT_ATTEMPT = defineSearchAttributeKey('HeedNextAttempt', 'DATETIME');

type Resting = Extract<AttemptResult, { status: 'waiting' | 'held' }>;

/** A send that waits: why, after how many attempts, until when. */
export function showWaiting(
  recipientDomain: string,
  result: Resting,
  attempts: readonly AttemptSummary[],
): void {
  const last = attempts.at(-1);
  const category = result.status === 'held' ? result.category : (last?.category ?? 'other');
  const next = result.nextAttemptAt === null ? null : new Date(result.nextAttemptAt);
  const pairs: SearchAttributeUpdatePair[] = [
    { key: STATE, value: result.status },
    { key: CATEGORY, value: category },
    { key: RECIPIENT_DOMAIN, value: recipientDomain },
    { key: ATTEMPTS, value: attempts.length },
    { key: NEXT_ATTEMPT, value: next },
  ];
  if (last?.reply) pairs.push({ key: REPLY, value: last.reply });
  upsertSearchAttributes(pairs);
  const why =
    result.status === 'held'
      ? `Held back: ${category}. ${result.text ?? ''}`.trim()
      : `Soft bounce: ${[category, last?.reply, last?.text].filter(Boolean).join(' · ')}`;
  const when = next?.toISOString() ?? 'once marketing email goes out again';
  setCurrentDetails(`${why}\n\nNext attempt: ${when}\n\n${table(attempts)}`);
}

/** The end of a send that was in trouble; one that was not needs no more than its result. */
export function showEnd(result: EmailSendResult, attempts: readonly AttemptSummary[]): void {
  setCurrentDetails(`${[result.outcome, result.reason].filter(Boolean).join(': ')}\n\n${table(attempts)}`);
  const last = attempts.at(-1);
  if (result.outcome === 'delivered' && attempts.length <= 1) return;
  const pairs: SearchAttributeUpdatePair[] = [
    { key: STATE, value: result.outcome },
    { key: ATTEMPTS, value: attempts.length },
    { key: NEXT_ATTEMPT, value: null },
  ];
  if (last?.category) pairs.push({ key: CATEGORY, value: last.category });
  if (last?.reply) pairs.push({ key: REPLY, value: last.reply });
  upsertSearchAttributes(pairs);
}

/** Markdown, as the Temporal UI renders it. */
function table(attempts: readonly AttemptSummary[]): string {
  if (attempts.length === 0) return '';
  const rows = attempts.map(
    ({ number, at, outcome, category, reply, remoteHost }) =>
      `| ${[number, new Date(at).toISOString(), outcome, category, reply, remoteHost].map((cell) => cell ?? '').join(' | ')} |`,
  );
  return [
    '| attempt | at | outcome | category | reply | server |',
    '|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}
