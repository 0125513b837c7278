import { addressInField, distinct } from './addresses.ts';
import {
  answersInPerson,
  readAutoReply,
  readChallenge,
  readDelay,
  readReceipt,
  readSuccess,
} from './automatic.ts';
import { readDeliveryStatus } from './deliveryStatus.ts';
import { originalMailFrom, readFeedback } from './feedback.ts';
import type { Fields } from './fields.ts';
import { deliveredTo, type Message, parseMessage } from './mime.ts';
import { type Notice, noticeOf, originalMessageId } from './notice.ts';
import { type BounceReport, READ_LIMITS, type ReadLimits, type RecipientReport, unjudged } from './report.ts';
import { readSesNotification } from './sesNotification.ts';
import { readTextBounce } from './textBounce.ts';

export interface ReadOptions {
  readonly limits: ReadLimits;
}

/** Returned messages of returned messages that are looked into for a report. */
const MOST_FORWARDED = 2;

/**
 * Reads a message that came back: one entry a recipient, at least one. Never throws, whatever the octets: what is not
 * understood is one entry of kind `none` with the rule `not_understood`. Work is bounded by the limits.
 *
 * The rules in their order; the first that applies decides, and before them all a notification of Amazon SES by mail:
 *
 * 1. feedback reports (RFC 5965), which carry the words of a complaint and never those of a bounce;
 * 2. disposition notifications (RFC 8098), such as read receipts, which have fields of the same names as the next;
 * 3. delivery status notifications (RFC 3464, RFC 6533), each recipient by its Action: only `failed` is a bounce;
 * 4. challenge-response;
 * 5. automatic replies of persons (RFC 3834);
 * 6. notices of delay, and of success;
 * 7. bounces in words;
 * 8. a report within a message that was passed on: the outermost that is about delivery wins;
 * 9. any other automatic reply.
 */
export async function readBounce(
  raw: Uint8Array,
  options: ReadOptions = { limits: READ_LIMITS },
): Promise<BounceReport[]> {
  const read = withinLimits(raw, options.limits);
  const { recipients, message, original, returnPaths } = await understand(read, options.limits.recipients);
  const facts = {
    returnPathTokenCandidates: distinct([...deliveredTo(message.headers), ...returnPaths]),
    originalMessageId: originalMessageId(message, original),
    octetsRead: read.length,
    octets: raw.length,
  };
  return recipients
    .slice(0, Math.max(1, options.limits.recipients))
    .map((recipient, index) => ({ n: index + 1, ...recipient, ...facts }));
}

/** The beginning of a message that is read, which a report never exceeds: octets, lines, and lines that begin parts. */
function withinLimits(raw: Uint8Array, { octets, lines, parts }: ReadLimits): Uint8Array {
  const read = raw.subarray(0, Math.max(0, octets));
  let linesSeen = 0;
  let partsSeen = 0;
  for (let index = 0; index < read.length; index++) {
    if (read[index] !== LINE_FEED) continue;
    if (read[index + 1] === HYPHEN && read[index + 2] === HYPHEN) partsSeen++;
    if (++linesSeen >= lines || partsSeen >= parts) return read.subarray(0, index + 1);
  }
  return read;
}

const LINE_FEED = 0x0a;
const HYPHEN = 0x2d;

interface Understood {
  readonly recipients: readonly RecipientReport[];
  readonly message: Message;
  /** Header fields of the message that it is about. */
  readonly original: Fields;
  /** Envelope senders that the report itself names. */
  readonly returnPaths: readonly string[];
}

async function understand(raw: Uint8Array, mostRecipients: number): Promise<Understood> {
  const message = await parseMessage(raw);
  const ses = readSesNotification(message, mostRecipients);
  if (ses !== null && ses.recipients.length > 0) {
    const returnPaths = (ses.original.get('return-path') ?? [])
      .map((each) => addressInField(each))
      .filter((each) => each !== null);
    return { recipients: ses.recipients, message, original: ses.original, returnPaths };
  }
  const notice = noticeOf(message);
  const own = byRules(message, notice, mostRecipients);
  const isTold = own?.some(({ recipient }) => recipient !== null) ?? false;
  const recipients = isTold ? own : ((await forwardedReport(message, mostRecipients)) ?? own);
  return {
    recipients: recipients ?? lastResort(message),
    message,
    original: notice.original,
    returnPaths: own?.[0]?.source === 'feedback' ? originalMailFrom(message, notice) : [],
  };
}

function byRules(message: Message, notice: Notice, mostRecipients: number): RecipientReport[] | null {
  const feedback = readFeedback(message, notice);
  if (feedback) return feedback;
  const receipt = readReceipt(message);
  if (receipt) return [receipt];
  const status = readDeliveryStatus(message, notice, mostRecipients);
  if (status) return status;
  const challenge = readChallenge(message, notice);
  if (challenge) return [challenge];
  if (answersInPerson(message)) return null;
  const going = readDelay(message, notice) ?? readSuccess(message, notice);
  if (going) return [going];
  return readTextBounce(message, notice, mostRecipients);
}

async function forwardedReport(message: Message, mostRecipients: number): Promise<RecipientReport[] | null> {
  let current = message;
  for (let depth = 0; depth < MOST_FORWARDED; depth++) {
    const part = current.parts.find(({ type }) => type === 'message/rfc822' || type === 'message/global');
    if (!part) return null;
    current = await parseMessage(part.octets);
    const notice = noticeOf(current);
    const found = readFeedback(current, notice) ?? readDeliveryStatus(current, notice, mostRecipients);
    if (found) return found.slice(0, mostRecipients);
  }
  return null;
}

function lastResort(message: Message): RecipientReport[] {
  return [readAutoReply(message) ?? unjudged('not_understood', 'none')];
}
