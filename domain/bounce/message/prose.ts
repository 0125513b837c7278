import { phaseInText } from '../replyText.ts';
import type { SmtpPhase } from '../verdict.ts';
import { addressesIn } from './addresses.ts';
import type { Evidence } from './judge.ts';
import type { Notice } from './notice.ts';

/** A server's reply as notifications quote it: a reply code that text follows, or an enhanced code in the way of qmail. */
const REPLY =
  /(?:^|[\s:;'"(<>[\]=*-])(?:[45]\d\d[ -]+#?[245]\.\d{1,3}\.\d{1,3}\b|#[45]\.\d{1,3}\.\d{1,3}\b)|(?:^\s*(?:[-<>*|(]+\s*)?|[:;'"(<>[\]=]\s*|\b(?:said|was|returned|error|code|reason|response|reply|with|status|host)[ :]\s*)[45]\d\d(?:[ -]+(?=\S*[\p{L}<"'#(])|:\s*\p{L})/iu;
/** A line of a session's transcript: what we said, what they said, or what came of it. */
const WE_SAID = /^\s*>>>\s*([A-Za-z]{4})/;
const THEY_SAID = /^\s*<<<\s*(.*)$/;
const RESULT = /^\s*([45]\d\d)[ -]/;
/** A rule of dashes that begins a section. */
const SECTION = /^\s*[-=_*]{3,}/;
/** `Recipient address: a@b`. */
const LABEL = /^\s*[A-Za-z][\w -]{0,40}:\s*<?[^\s<>]+@/;
const LONGEST_SEGMENT = 30;
const MOST_SEGMENTS = 5;
/** Replies about one recipient that are judged. */
const MOST_EVIDENCE = 6;
const LONGEST_EVIDENCE = 2000;
/** A sentence that supposes, advises or apologises, rather than says what happened. */
const SUPPOSES =
  /\b(?:may|might|perhaps|possibl[ey]|probabl[ey]|maybe|could be|can be|if|unless|whether|make sure|ensure|please|check|verify|either|such as|for example|e\.g\.|reasons? (?:for|why|include)|to (?:learn|find out)|try (?:again|to|re)|contact)\b/i;

/** A notification's text, looked through once for all of its recipients. */
export interface Prose {
  /** Without the lines of transcripts. */
  readonly lines: readonly Line[];
  readonly transcript: readonly Exchange[];
  /** What the whole says, without suppositions and advice. */
  readonly statements: string;
}

interface Line {
  readonly text: string;
  /** The addresses in it, in lower case. */
  readonly addresses: readonly string[];
  readonly startsWithAddress: boolean;
}

/** Looks a notification through. */
export function proseOf({ lines }: Pick<Notice, 'lines'>): Prose {
  const transcript = transcriptOf(lines);
  const spoken =
    transcript.length === 0 ? lines : lines.filter((line) => !isTranscript(line) && !RESULT.test(line));
  return {
    lines: spoken.map((text) => ({
      text,
      addresses: addressesIn(text).map(({ address }) => address.toLowerCase()),
      startsWithAddress: startsWithAddress(text),
    })),
    transcript,
    statements: statements(spoken.join('\n')),
  };
}

/**
 * What a notification says about the recipient who has one of these addresses, most specific first: replies in lines
 * that name it, replies below its address, replies that name nobody; last the prose, of its own paragraph and of the
 * whole.
 */
export function* evidenceAbout(prose: Prose, recipient: readonly string[]): Generator<Evidence> {
  const own = new Set(recipient.map((address) => address.toLowerCase()));
  const isTheirs = (address: string) => own.has(address.toLowerCase());
  const segments = segmentsOf(prose.lines, own);
  const named = [
    ...prose.transcript
      .filter(({ about }) => about.some(isTheirs))
      .map(({ text, phase }) => quote(text, phase)),
    ...segments.flatMap((segment) => repliesIn(segment)).map((text) => quote(text, null)),
  ].slice(0, MOST_EVIDENCE);
  yield* named;
  if (named.length === 0) {
    const others = prose.lines.filter(
      ({ addresses }) => addresses.length === 0 || addresses.some((each) => own.has(each)),
    );
    yield* [
      ...prose.transcript
        .filter(({ about }) => about.length === 0)
        .map(({ text, phase }) => quote(text, phase)),
      ...repliesIn(others).map((text) => quote(text, null)),
    ].slice(0, MOST_EVIDENCE);
  }
  // An entry of a list of failed recipients goes straight to the point.
  for (const segment of segments) if (segment[0]!.startsWithAddress) yield* said(firstParagraph(segment));
  for (const segment of segments) yield* said(statements(joined(segment)));
  yield* said(prose.statements);
}

function* said(text: string): Generator<Evidence> {
  if (text !== '') yield { text, phase: null, quoted: false };
}

function joined(lines: readonly Line[]): string {
  return lines.map(({ text }) => text).join(' ');
}

/** Whether a line quotes a server's refusal. */
export function quotesReply(line: string): boolean {
  return REPLY.test(line);
}

/** The domain of an address, in lower case. */
export function domainOf(address: string | null): string | null {
  const domain = address?.slice(address.lastIndexOf('@') + 1).toLowerCase();
  return domain === undefined || domain === '' ? null : domain;
}

/** The stage that the notification tells of the reply that its report quotes: in a transcript, or in words. */
export function phaseOfReply(
  prose: Prose,
  diagnostic: string,
  recipient: readonly string[],
): SmtpPhase | null {
  const words = flat(diagnostic);
  const exchange = prose.transcript.find(
    ({ phase, replies }) =>
      phase !== null && replies.some((reply) => reply !== '' && words.includes(flat(reply))),
  );
  if (exchange) return exchange.phase;
  for (const segment of segmentsOf(prose.lines, new Set(recipient.map((address) => address.toLowerCase())))) {
    const phase = phaseInText(joined(segment).replace(/\s+/g, ' '));
    if (phase !== null) return phase;
  }
  return null;
}

function flat(text: string): string {
  return text
    .replace(/^\s*[A-Za-z][A-Za-z-]*;\s*/, '')
    .replace(/^[45]\d\d[ -]/, '')
    .replace(/\s+/g, ' ')
    .trim()
    .toLowerCase();
}

function quote(text: string, phase: SmtpPhase | null): Evidence {
  return { text: text.slice(0, LONGEST_EVIDENCE), phase, quoted: true };
}

/** Whether a line begins with an address, as the lists of failed recipients do. */
export function startsWithAddress(line: string): boolean {
  const found = addressesIn(line)[0];
  return found !== undefined && /^[\s<>"'*•·[(|-]*$/.test(line.slice(0, found.index));
}

/** The lines that follow each mention of the recipient, up to the next mention or section. */
function segmentsOf(lines: readonly Line[], own: ReadonlySet<string>): Line[][] {
  const segments: Line[][] = [];
  for (let start = 0; start < lines.length && segments.length < MOST_SEGMENTS; start++) {
    if (!lines[start]!.addresses.some((address) => own.has(address))) continue;
    const segment = [lines[start]!];
    let end = start + 1;
    for (; end < lines.length && end < start + LONGEST_SEGMENT; end++) {
      const line = lines[end]!;
      // The next mention at the start of a line, or of somebody else beside a label, begins the next segment.
      const isElses = line.addresses.some((address) => !own.has(address));
      if (SECTION.test(line.text) || line.startsWithAddress || (isElses && LABEL.test(line.text))) break;
      segment.push(line);
    }
    segments.push(segment);
    start = end - 1;
  }
  return segments;
}

/** The paragraphs that quote a reply. */
function repliesIn(lines: readonly Line[]): string[] {
  const replies: string[] = [];
  for (const paragraph of paragraphsOf(lines)) {
    if (replies.length === MOST_EVIDENCE) break;
    if (paragraph.some(({ text }) => quotesReply(text))) replies.push(joined(paragraph));
  }
  return replies;
}

function firstParagraph(lines: readonly Line[]): string {
  return joined(paragraphsOf(lines)[0] ?? [])
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, LONGEST_EVIDENCE);
}

function paragraphsOf(lines: readonly Line[]): Line[][] {
  const paragraphs: Line[][] = [[]];
  for (const line of lines) {
    if (line.text.trim() === '') paragraphs.push([]);
    else paragraphs.at(-1)!.push(line);
  }
  return paragraphs.filter((paragraph) => paragraph.length > 0);
}

interface Exchange {
  readonly text: string;
  readonly replies: readonly string[];
  /** Addresses that the result names. */
  readonly about: readonly string[];
  readonly phase: SmtpPhase | null;
}

const PHASE_OF_VERB: Readonly<Record<string, SmtpPhase>> = {
  EHLO: 'ehlo',
  HELO: 'ehlo',
  STAR: 'starttls',
  AUTH: 'auth',
  MAIL: 'mail',
  RCPT: 'rcpt',
  DATA: 'data',
  BDAT: 'data',
  QUIT: 'quit',
};

function isTranscript(line: string): boolean {
  return WE_SAID.test(line) || THEY_SAID.test(line);
}

/** The transcript of a session in the manner of sendmail: `>>> RCPT To:<a@b>`, `<<< 550 …`, `550 <a@b>... User unknown`. */
function transcriptOf(lines: readonly string[]): Exchange[] {
  if (!lines.some((line) => isTranscript(line) || /\btranscript of (?:the )?session\b/i.test(line)))
    return [];
  const exchanges: Exchange[] = [];
  let verb: SmtpPhase | null = null;
  let named: string[] = [];
  let replies: string[] = [];
  /** What comes after a result is no more of that session. */
  let isOver = false;
  const close = (result: string | null, about: readonly string[]) => {
    const said = [...replies, ...(result === null ? [] : [result])];
    if (said.length > 0) exchanges.push({ text: said.join(' '), replies: said, about, phase: verb });
    replies = [];
    isOver = result !== null;
  };
  for (const line of lines) {
    const weSaid = WE_SAID.exec(line)?.[1]?.toUpperCase();
    const theySaid = THEY_SAID.exec(line)?.[1];
    if (weSaid !== undefined) {
      if (replies.length > 0) close(null, named);
      verb = PHASE_OF_VERB[weSaid] ?? null;
      named = verb === 'rcpt' ? addressesIn(line).map(({ address }) => address) : [];
    } else if (theySaid !== undefined) {
      if (RESULT.test(theySaid)) replies.push(theySaid);
    } else if (RESULT.test(line)) {
      const about = addressesIn(line).map(({ address }) => address);
      if (about.length > 0) close(line.trim(), about);
      else {
        if (isOver) verb = null;
        replies.push(line.trim());
      }
    } else if (/\bwhile talking to\b/i.test(line)) {
      close(null, named);
      verb = null;
      named = [];
    }
  }
  close(null, named);
  return exchanges;
}

/** The sentences of a text that say what happened. */
function statements(text: string): string {
  return text
    .slice(0, 20_000)
    .split(/(?<=[.!?。！？])\s+|\n\s*\n/)
    .filter((sentence) => !SUPPOSES.test(sentence))
    .join(' ')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, LONGEST_EVIDENCE);
}
