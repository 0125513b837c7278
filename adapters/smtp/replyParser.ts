import type { SmtpReply } from '../../domain/bounce/verdict.ts';

/** A reply with the text of each of its lines, which EHLO needs one by one. */
export interface ServerReply extends SmtpReply {
  /** Text of each line after the reply code, enhanced codes left in. */
  readonly lines: readonly string[];
}

/** RFC 5321 section 4.5.3.1.5 allows 512 octets a line; servers exceed it with long explanations and addresses. */
export const MAX_LINE_OCTETS = 4096;
export const MAX_LINES = 128;
export const MAX_REPLY_OCTETS = 32_768;

/** Replies of one line that are remembered: a server says the same to nearly every message. */
const REMEMBERED = 16;
const LONGEST_REMEMBERED = 200;

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const HYPHEN = 0x2d;

/** RFC 2034 section 3, at the beginning of a line. Some servers write `#5.1.1` or `5.1.1:`. */
const ENHANCED_CODE = /^#?([245]\.\d{1,3}\.\d{1,3})(?:[\s:]+|$)/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL_CHARACTERS = /[\u0000-\u001f\u007f-\u009f]/g;

/**
 * Incremental parser of what an SMTP server says (RFC 5321 section 4.2). Pure: bytes in, replies out, the same
 * however the bytes are cut. It never throws and keeps at most {@link MAX_REPLY_OCTETS} of one reply; what is not
 * SMTP sets {@link fault}, after which nothing is parsed any more. A bare LF is taken for a line end; control
 * characters become spaces, so that texts can be stored and logged; bytes that are not UTF-8 become U+FFFD.
 */
export class ReplyParser {
  #fault: string | null = null;
  readonly #line = Buffer.allocUnsafe(MAX_LINE_OCTETS);
  #lineLength = 0;
  #code = 0;
  #lines: string[] = [];
  #replyOctets = 0;
  readonly #remembered = new Map<string, ServerReply>();

  /** Why the stream is not SMTP, or `null` as long as it is. */
  get fault(): string | null {
    return this.#fault;
  }

  /** Whether a part of a reply was read whose end has not come yet. */
  get midReply(): boolean {
    return this.#lineLength > 0 || this.#lines.length > 0;
  }

  /** Takes the next bytes and returns the replies that they complete, in order. */
  push(chunk: Uint8Array): ServerReply[] {
    const replies: ServerReply[] = [];
    let at = 0;
    while (at < chunk.length && this.#fault === null) {
      const lineFeed = chunk.indexOf(LF, at);
      const end = lineFeed === -1 ? chunk.length : lineFeed;
      if (this.#lineLength + end - at > MAX_LINE_OCTETS) {
        this.#fault = `a reply line is longer than ${MAX_LINE_OCTETS} octets`;
        break;
      }
      const isWhole = !this.midReply && lineFeed !== -1;
      const text = isWhole && end - at <= LONGEST_REMEMBERED ? latin1(chunk, at, end) : null;
      let reply = text === null ? undefined : this.#remembered.get(text);
      if (reply === undefined) {
        this.#line.set(chunk.subarray(at, end), this.#lineLength);
        this.#lineLength += end - at;
        if (lineFeed === -1) break;
        reply = this.#endLine() ?? undefined;
        if (text !== null && reply !== undefined) this.#remember(text, reply);
      }
      at = lineFeed + 1;
      if (reply !== undefined) replies.push(reply);
    }
    return replies;
  }

  #remember(text: string, reply: ServerReply): void {
    if (this.#remembered.size >= REMEMBERED) this.#remembered.clear();
    this.#remembered.set(text, reply);
  }

  #endLine(): ServerReply | null {
    const line = this.#line;
    this.#replyOctets += this.#lineLength + 1;
    const length =
      line[this.#lineLength - 1] === CR && this.#lineLength > 0 ? this.#lineLength - 1 : this.#lineLength;
    this.#lineLength = 0;

    const code = length >= 3 ? replyCode(line) : null;
    const separator = length > 3 ? line[3] : SPACE;
    if (code === null || (separator !== SPACE && separator !== HYPHEN)) {
      this.#fault = 'a line does not begin with a reply code';
      return null;
    }
    if (this.#lines.length > 0 && code !== this.#code) {
      this.#fault = `the lines of one reply carry different codes, ${this.#code} and ${code}`;
      return null;
    }
    if (this.#replyOctets > MAX_REPLY_OCTETS || this.#lines.length >= MAX_LINES) {
      this.#fault = `a reply is longer than ${MAX_LINES} lines or ${MAX_REPLY_OCTETS} octets`;
      return null;
    }

    this.#code = code;
    this.#lines.push(line.toString('utf8', 4, Math.max(length, 4)).replace(CONTROL_CHARACTERS, ' ').trim());
    if (separator === HYPHEN) return null;
    const reply = serverReply(code, this.#lines);
    this.#lines = [];
    this.#replyOctets = 0;
    return reply;
  }
}

/** One character an octet. */
function latin1(octets: Uint8Array, from: number, to: number): string {
  return Buffer.from(octets.buffer, octets.byteOffset + from, to - from).toString('latin1');
}

/** The code in the first three octets, or `null`: 200 to 599, for SMTP has no preliminary replies. */
function replyCode(line: Uint8Array): number | null {
  let code = 0;
  for (let index = 0; index < 3; index++) {
    const digit = line[index]! - 0x30;
    if (digit < 0 || digit > 9) return null;
    code = code * 10 + digit;
  }
  return code >= 200 && code <= 599 ? code : null;
}

function serverReply(code: number, lines: readonly string[]): ServerReply {
  let enhancedCode: string | null = null;
  const texts: string[] = [];
  for (const line of lines) {
    const match = ENHANCED_CODE.exec(line);
    if (match !== null) enhancedCode ??= match[1]!;
    const text = match === null ? line : line.slice(match[0].length);
    if (text !== '') texts.push(text);
  }
  return { code, enhancedCode, text: texts.join(' '), lines };
}
