import { addressesIn, addressInField } from './addresses.ts';
import { fieldGroups, first } from './fields.ts';
import type { Message } from './mime.ts';
import type { Notice } from './notice.ts';
import { type RecipientReport, type ReportSource, unjudged } from './report.ts';
import { decodeLeniently } from './text.ts';
import { FAILURE_SUBJECT, hasNullReturnPath, isFromMailSystem, tellsOfFailure } from './textBounce.ts';

/*
 * Automatic messages that are no bounces. Each function is one rule: the report, or `null` where it does not apply.
 */

/** Disposition notifications: what became of a message that was delivered (RFC 8098). */
export function readReceipt(message: Message): RecipientReport | null {
  const part = message.parts.find(({ type }) => /^message\/(?:global-)?disposition-notification$/.test(type));
  const isReport = /report-type="?disposition-notification/.test(message.contentType);
  const isSubject =
    /^\s*(?:read|not read|read receipt|return receipt|lesebest(?:ä|ae)tigung|gelesen|accus[ée] de lecture|lu|leído|letto|lida|開封済み)\s*[:(-]/i.test(
      subjectOf(message),
    );
  if (part === undefined && !isReport && !(isSubject && message.parts.length === 0)) return null;
  const fields = part
    ? (fieldGroups(decodeLeniently(part.octets.subarray(0, 65_536)))[0] ?? new Map())
    : new Map();
  return {
    ...unjudged('disposition notification', 'receipt'),
    recipient: addressInField(first(fields, 'original-recipient', 'final-recipient')) ?? fromOf(message),
    finalRecipient: addressInField(first(fields, 'final-recipient')),
    originalRecipient: addressInField(first(fields, 'original-recipient')),
  };
}

const CHALLENGE_HEADERS = [
  'x-tmda-confirm',
  'x-boxbe-notify',
  'x-challenge',
  'x-spamarrest-noauth',
  'x-bluebottle-request',
  'x-asc-challenge',
];
const CHALLENGE_SUBJECT =
  /\b(?:confirm(?:ation)? (?:your|that you|e-?mail|request(?:ed)?|required)|verif(?:y|ication) (?:your|required|request)|(?:please|must) (?:confirm|verify|authenticate)|(?:sender|message|e-?mail) (?:verification|authentication|confirmation) (?:request|required|needed)|are you human|action required.{0,40}deliver|anti-?spam challenge|challenge)\b/i;
const WANTS_PROOF =
  /\b(?:confirm|verify|authenticate|authorize|prove|approved?|validate|register|captcha|whitelist|guest ?list|allow(?:ed)? list|approved senders?)\b/i;
const BY_DOING =
  /\b(?:click|follow|visit|open|use|reply|respond|answer|enter|fill)\b.{0,80}\b(?:link|url|below|this (?:message|mail|e-?mail)|here|code|button|form|page|letters|numbers?)\b|https?:\/\//i;
const HELD_MESSAGE =
  /\b(?:held|pending|waiting|quarantin\w*|(?:be|get|gets|being) (?:deliver|released|forward)\w*|(?:reach|arrive in) (?:\w+ )?(?:inbox|mailbox|recipient)|one[- ]time|not (?:yet )?(?:been )?deliver\w*|before (?:your|the|this|i|we) )/i;

/** Challenge-response: the message is held until its sender proves to be a person. */
export function readChallenge(message: Message, notice: Notice): RecipientReport | null {
  const header = CHALLENGE_HEADERS.some((name) => message.headers.has(name));
  const text = notice.lines.join(' ').slice(0, 20_000);
  const asks = WANTS_PROOF.test(text) && BY_DOING.test(text) && HELD_MESSAGE.test(text);
  const system = isFromMailSystem(message);
  const wanted =
    header || (asks && !system && (CHALLENGE_SUBJECT.test(subjectOf(message)) || isAutomatic(message)));
  if (!wanted || quotesPermanentReply(text)) return null;
  return automatic(header ? 'challenge header' : 'asks for confirmation', 'challenge', message);
}

const DELAY_SUBJECT =
  /\bdelay(?:ed)?\b|\bstill (?:being )?(?:re)?tr(?:ied|ying)\b|\bwarning\b.{0,60}\b(?:could not send|not (?:yet )?(?:been )?(?:deliver|sent)|deliver)|\bnot yet (?:been )?delivered\b|\bdeferred\b|\bdelivery incomplete\b|verz(?:ö|oe)gert|retard|retras|ritard|atras|遅延|遅れ|задерж|延迟|延遲/i;
const STILL_TRYING =
  /\b(?:is|has been) delayed\b|\bwill (?:\w+ )?(?:keep|continue|be (?:re)?tr(?:ied|y)|retry|try again|attempt)|\bcontinue(?:s)? (?:to )?(?:try|attempt)|\b(?:warning message only|do not need to resend|no action is required|still being (?:re)?tried|has not yet been delivered|not (?:been )?(?:yet )?delivered yet|will be retried|attempts? (?:to deliver (?:\w+ )*)?will continue|temporar(?:y|ily) (?:problem|delayed|failure))\b|weiterhin versuch|erneut versuch|nouvelle tentative|seguir[áa] intentando|再送|引き続き|продолжены|继续尝试/i;
const GAVE_UP =
  /\bpermanent(?:ly)? (?:error|fail|fatal)|\b(?:given|giving|gave) up\b|\bwill not (?:be )?(?:re)?tr(?:y|ied)|\bnot going to try again\b|\bno further (?:delivery )?attempts?\b|\bcannot be delivered\b|\bfailed permanently\b/i;

/** Delay notices without a report: the mail system still tries, and says so. */
export function readDelay(message: Message, notice: Notice): RecipientReport | null {
  if (!(isFromMailSystem(message) || hasNullReturnPath(message) || isAutomatic(message))) return null;
  const text = notice.lines.join(' ').slice(0, 20_000);
  if (!STILL_TRYING.test(text) || GAVE_UP.test(text) || /<<< 5\d\d|\b5\d\d[ -]5\.\d/.test(text)) return null;
  const subject = subjectOf(message);
  if (
    !DELAY_SUBJECT.test(subject) &&
    !/\bdelayed\b|\bnot yet been delivered\b|\bwarning message only\b/i.test(text)
  )
    return null;
  const failed = first(message.headers, 'x-failed-recipients');
  const own = fromOf(message);
  const address =
    addressInField(failed) ??
    notice.lines
      .flatMap((line) => addressesIn(line))
      .map((found) => found.address)
      .find((each) => each !== own) ??
    null;
  return { ...unjudged('delivery still being tried', 'delay'), recipient: address, finalRecipient: address };
}

const DELIVERED =
  /\bsuccessful(?:ly)? (?:\w+ ){0,2}(?:deliver|relay|sent)|\b(?:was|were|been) (?:successfully )?(?:delivered|relayed|displayed)\b|\(success\)|\bdelivery success/i;

/** Notices of success without a report, such as `Successful Mail Delivery Report`. */
export function readSuccess(message: Message, notice: Notice): RecipientReport | null {
  const text = `${subjectOf(message)}\n${notice.lines.join('\n')}`.slice(0, 20_000);
  if (!isFromMailSystem(message) || !DELIVERED.test(text)) return null;
  if (tellsOfFailure(notice) || message.headers.has('x-failed-recipients')) return null;
  const named = notice.lines.flatMap((line) => addressesIn(line)).map(({ address }) => address);
  return { ...unjudged('delivered', 'text'), recipient: named[0] ?? null, finalRecipient: named[0] ?? null };
}

const REPLY_SUBJECT =
  /^\s*(?:(?:re|aw|sv|antw|fwd?)\s*:\s*)*[[(*]?(?:auto\s*:|auto(?:mat(?:ic|ed|ische|ique|ica|isch)\w*)?[- _]?(?:reply|response|respon\w+|antwort|r[ée]ponse|respuesta|risposta|resposta|svar)|(?:reply|response|antwort|r[ée]ponse|respuesta|risposta|resposta|abwesenheit\w*|absence)\b.{0,20}\bauto|out[- ]of[- ](?:the[- ])?office|oo[fo]\b|not in (?:the )?office|away (?:from|until|on|till)|on (?:vacation|holiday|leave|annual leave|maternity|parental)|vacation|i(?:'m| am) (?:away|on|out|currently)|abwesen|urlaub|nicht im (?:b(?:ü|ue)ro|hause)|automatische antwort|r[ée]ponse automatique|absen(?:t|ce)|en cong[ée]s?|message d'absence|respuesta autom|fuera de (?:la )?oficina|ausente|ausencia|risposta autom|fuori (?:sede|ufficio)|assente|resposta autom|fora do escrit|autosvar|frånvaro|frav(?:æ|ae)r|poissa|automaattinen|afwezig|automatisch antwoord|automatyczna odpowied|nieobecn|автоответ|автоматический ответ|вне офиса|отсутств|自動応答|自動返信|不在|自动回复|自動回覆|外出|자동 ?(?:응답|회신)|부재|automatikus v[áa]lasz|automatick[áaé] odpov|automatisk(?:t)? svar|otomatik yan[ıi]t|ofis d[ıi]ş[ıi]|r[ăa]spuns automat|automatski odgovor|samodejni odgovor|αυτόματη απάντηση|תשובה אוטומטית|رد تلقائي|ตอบกลับอัตโนมัติ|trả lời tự động|balasan otomatis)/iu;

/** Vacation and out-of-office answers, and other automatic replies (RFC 3834). */
export function readAutoReply(message: Message): RecipientReport | null {
  const { headers } = message;
  const submitted = first(headers, 'auto-submitted')?.toLowerCase() ?? '';
  if (submitted.startsWith('auto-replied'))
    return automatic('Auto-Submitted: auto-replied', 'auto_reply', message);
  const ofRobots = [
    'x-autoreply',
    'x-autorespond',
    'x-auto-reply',
    'x-autoresponder',
    'x-vacation',
    'x-autoreply-from',
    'x-autogenerated',
    'x-mail-autoreply',
  ];
  if (ofRobots.some((name) => headers.has(name)))
    return automatic('auto-reply header', 'auto_reply', message);
  if (
    headers.has('x-ms-exchange-inbox-rules-loop') ||
    /vacation/i.test(first(headers, 'x-apple-action') ?? '')
  ) {
    return automatic('auto-reply header', 'auto_reply', message);
  }
  if (/\bauto[_-]?reply\b/i.test(first(headers, 'precedence') ?? '')) {
    return automatic('Precedence: auto_reply', 'auto_reply', message);
  }
  if (REPLY_SUBJECT.test(subjectOf(message))) return automatic('auto-reply subject', 'auto_reply', message);
  return null;
}

/** Whether the message looks like a person's own automatic answer rather than a mail system's notification. */
export function answersInPerson(message: Message): boolean {
  const subject = subjectOf(message);
  if (message.headers.has('x-failed-recipients')) return false;
  // Some mail systems write them in their own name.
  if (isFromMailSystem(message)) return REPLY_SUBJECT.test(subject) && !FAILURE_SUBJECT.test(subject);
  return REPLY_SUBJECT.test(subject) || (readAutoReply(message) !== null && !FAILURE_SUBJECT.test(subject));
}

function isAutomatic(message: Message): boolean {
  const submitted = first(message.headers, 'auto-submitted')?.toLowerCase() ?? 'no';
  return (
    !submitted.startsWith('no') ||
    hasNullReturnPath(message) ||
    message.headers.has('x-auto-response-suppress')
  );
}

function quotesPermanentReply(text: string): boolean {
  return /\b5\d\d[ -]5\.\d\.\d|#5\.\d\.\d/.test(text);
}

function automatic(rule: string, source: ReportSource, message: Message): RecipientReport {
  return { ...unjudged(rule, source), recipient: fromOf(message) };
}

function subjectOf(message: Message): string {
  return first(message.headers, 'subject')?.slice(0, 500) ?? '';
}

function fromOf(message: Message): string | null {
  return addressInField(first(message.headers, 'from'));
}
