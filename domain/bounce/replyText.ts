import type { SmtpPhase, SmtpReply } from './verdict.ts';

/** RFC 3463 section 2; not a part of an IP address or of a longer number. */
const ENHANCED = '[245]\\.\\d{1,3}\\.\\d{1,3}(?![.\\d]*\\d)';
const CODE_WITH_ENHANCED = new RegExp(`(?<![\\d.])([245]\\d\\d)[ -]+#?(${ENHANCED})`);
/** A reply code where replies begin: at the start, after punctuation that introduces a quotation, or after `said`. */
const CODE_QUOTED =
  /(?:^|[:;'"(<>[\]=]\s*|\b(?:said|returned|with|was|reason|error|response)\s)([245]\d\d)(?=[ -]\S|\s*$)/i;
const CODE_ANYWHERE = /(?<![\d.:/])\b([45][0-7]\d)[ -](?=[^\s\d])/;
const ENHANCED_ALONE = new RegExp(`(?<![\\d.])(${ENHANCED})`, 'g');

/**
 * Reads the reply out of a text that quotes it, such as a Diagnostic-Code field or the body of a bounce message:
 * `host mx.example.com said: 550-5.1.1 No such user 550 5.1.1 (in reply to RCPT TO command)`. Where the text has no
 * reply code, `code` is 0. The text is kept whole, without the codes.
 */
export function parseReplyText(text: string): SmtpReply {
  const flat = text
    .replace(/^\s*[A-Za-z][\w-]*;\s*/, '')
    .replace(/\s+/g, ' ')
    .trim();
  const both = CODE_WITH_ENHANCED.exec(flat);
  const code = both?.[1] ?? CODE_QUOTED.exec(flat)?.[1] ?? CODE_ANYWHERE.exec(flat)?.[1] ?? null;
  const beside = both?.[2];
  const enhancedCode = beside === undefined || saysNothing(beside) ? enhancedCodeIn(flat) : beside;
  let rest = flat;
  if (code !== null) rest = rest.replace(new RegExp(`(?<![\\d.:/])${code}(?=[ -]|$)[ -]*`, 'g'), ' ');
  if (enhancedCode !== null) {
    rest = rest.replace(
      new RegExp(`(?<![\\d.])#?${enhancedCode.replaceAll('.', '\\.')}(?![.\\d]*\\d)`, 'g'),
      ' ',
    );
  }
  return { code: Number(code ?? 0), enhancedCode, text: rest.replace(/\s+/g, ' ').trim() };
}

/**
 * The first enhanced status code in a text that says something, as qmail writes it: `no mailbox here (#5.1.1)`; where there
 * is none, the first one.
 */
export function enhancedCodeIn(text: string): string | null {
  const codes = [...text.matchAll(ENHANCED_ALONE)].map(([, code]) => code!);
  return codes.find((code) => !saysNothing(code)) ?? codes[0] ?? null;
}

/** RFC 3463 section 3.1: X.0.y is an other or undefined status. Exchange Online passes on with it what others said. */
export function saysNothing(enhancedCode: string): boolean {
  return /^\d\.0\./.test(enhancedCode);
}

/** How mail systems tell in words which command the quoted reply answered. */
const PHASES: readonly (readonly [RegExp, SmtpPhase])[] = [
  [
    /\b(?:in reply to|after|did not like our|response to)\s+(?:the\s+)?(?:end of data|final data)\b/i,
    'final',
  ],
  [/\bfailed after i sent the message\b/i, 'final'],
  [/\b(?:in reply to|after|did not like our|response to)\s+(?:the\s+)?data\b/i, 'data'],
  [
    /\b(?:in reply to|after|did not like our|response to)\s+(?:the\s+)?rcpt\b|\bdoes not like recipient\b|\bmost progress was rcpt to\b/i,
    'rcpt',
  ],
  [
    /\b(?:in reply to|after|did not like our|response to)\s+(?:the\s+)?mail\b|\bbut sender was rejected\b/i,
    'mail',
  ],
  [
    /\b(?:in reply to|after|did not like our|response to)\s+(?:the\s+)?(?:ehlo|helo)\b|\bbut my name was rejected\b/i,
    'ehlo',
  ],
  [/\b(?:in reply to|after|did not like our)\s+(?:the\s+)?initial (?:connection|greeting)\b/i, 'greeting'],
  // Named in any other way; `503 Need RCPT (recipient)` is said after it failed.
  [/(?<!need )(?<![a-z])rcpt(?![a-z]| \()/i, 'rcpt'],
];

/** The stage that a quoted reply answered, where the text around it says so (Postfix, Exim, qmail, DragonFly), or `null`. */
export function phaseInText(text: string): SmtpPhase | null {
  return PHASES.find(([pattern]) => pattern.test(text))?.[1] ?? null;
}
