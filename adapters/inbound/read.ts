import { addressesIn } from '../../domain/bounce/message/addresses.ts';
import { parseMessage } from '../../domain/bounce/message/mime.ts';
import { readBounce } from '../../domain/bounce/message/readBounce.ts';
import type { BounceReport } from '../../domain/bounce/message/report.ts';
import { isComplaint } from '../../domain/complaint.ts';
import type { DeliveryEventKind } from '../../domain/deliveryEvent.ts';
import type { Finding, InboundItem, InboundReader, Understood } from '../../domain/inbound.ts';
import { tokenOfSubject } from '../../domain/unsubscribeToken.ts';
import { readMailgun } from '../webhooks/mailgun.ts';
import { readPostmark } from '../webhooks/postmark.ts';
import { readSendGrid } from '../webhooks/sendgrid.ts';
import { readSes } from '../webhooks/ses.ts';
import type { AcceptedAddresses } from './addresses.ts';

/** Understands what came in, by the way that it came. */
export function createInboundReader(addresses: AcceptedAddresses): InboundReader {
  const { sendOfReturnAddress } = addresses;
  return async (item) => {
    switch (item.source) {
      case 'ses':
        return events(readSes(item.content, sendOfReturnAddress));
      case 'sendgrid':
        return events(readSendGrid(item.content));
      case 'mailgun':
        return events(readMailgun(item.content, sendOfReturnAddress));
      case 'postmark':
        return events(readPostmark(item.content));
      default:
        return readMessage(item, addresses);
    }
  };
}

function events(findings: readonly Finding[]): Understood {
  return { findings, unsubscribes: [] };
}

async function readMessage(item: InboundItem, addresses: AcceptedAddresses): Promise<Understood> {
  const reports = await readBounce(item.content);
  // Where the envelope is not known, the message tells whom it was delivered to.
  const deliveredTo =
    item.recipients.length > 0 ? item.recipients : (reports[0]?.returnPathTokenCandidates ?? []);
  if (deliveredTo.some((address) => addresses.isUnsubscribeAddress(address))) {
    const sends = await sendsOfTokens(item.content, deliveredTo, addresses);
    if (sends.length > 0) return { findings: [], unsubscribes: sends };
    // Reports may come to the same mailbox.
    if (reports.every((report) => kindOf(report) === 'none')) {
      return events([{ ...NOTHING, rule: 'message to the unsubscribe mailbox without a token of ours' }]);
    }
  }
  const candidates = [...item.recipients, ...(reports[0]?.returnPathTokenCandidates ?? [])];
  const sendIds = candidates
    .map((address) => addresses.sendOfReturnAddress(address))
    .filter((id) => id !== null);
  return events(reports.map((report) => findingOf(report, [...new Set(sendIds)].slice(0, 1))));
}

/** Whom a message to the unsubscribe mailbox unsubscribes: by tokens in its subject or in the address, and by nothing else. */
async function sendsOfTokens(
  content: Uint8Array,
  deliveredTo: readonly string[],
  addresses: AcceptedAddresses,
): Promise<string[]> {
  const { headers } = await parseMessage(content);
  const subjects = headers.get('subject') ?? [];
  const tokens = [
    ...subjects.map((subject) => tokenOfSubject(subject)),
    ...deliveredTo.flatMap((address) => addressesIn(address).map((found) => tokenOfSubject(found.address))),
  ];
  const sends = tokens
    .filter((token) => token !== null)
    .map((token) => addresses.sendOfUnsubscribeToken(token))
    .filter((id) => id !== null);
  return [...new Set(sends)];
}

const NOTHING: Omit<Finding, 'rule'> = {
  kind: 'none',
  category: null,
  faultOurs: false,
  status: null,
  replyCode: null,
  diagnostic: null,
  sendIds: [],
  messageIds: [],
};

function findingOf(report: BounceReport, sendIds: readonly string[]): Finding {
  return {
    kind: kindOf(report),
    category: report.category,
    faultOurs: report.fault === 'ours',
    status: report.status,
    replyCode: report.reply,
    diagnostic: report.diagnostic,
    rule: report.rule,
    sendIds,
    messageIds: report.originalMessageId === null ? [] : [report.originalMessageId],
  };
}

/**
 * A report of success counts only where it says `delivered`: `relayed` and `expanded` (RFC 3464 section 2.3.3) tell that
 * nobody will report any more. A report of failure is the end of somebody's attempts: whoever goes on trying says so.
 */
function kindOf(report: BounceReport): DeliveryEventKind {
  if (report.source === 'feedback') return isComplaint(report.feedbackType) ? 'complaint' : 'none';
  switch (report.action) {
    case 'hard':
      return 'hard_bounce';
    case 'rejected':
      return 'rejected';
    case 'soft':
      return 'gave_up';
    case 'none':
      return report.source === 'dsn' && report.reportedAction === 'delivered' ? 'delivered' : 'none';
  }
}
