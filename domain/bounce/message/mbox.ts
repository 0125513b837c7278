import { decodeLeniently } from './text.ts';

/** RFC 4155 appendix A: the separator line, with what must follow one for it not to be a line of a text. */
const SEPARATOR =
  /^From \S+ +[A-Z][a-z]{2} +[A-Z][a-z]{2} +\d{1,2} +\d\d:\d\d(?::\d\d)? .{0,40}\r?\n(?=[A-Za-z][A-Za-z0-9-]{0,60}:)/gm;
const STARTS = /^From \S+ /;

/** The messages of an mbox file (RFC 4155); a file that does not begin as one is one message. */
export function messagesOf(file: Uint8Array): Uint8Array[] {
  if (!STARTS.test(decodeLeniently(file.subarray(0, 1000)))) return [file];
  // ISO 8859-1 has one character an octet, so the places are those of the file.
  const text = new TextDecoder('latin1').decode(file);
  const starts = [...text.matchAll(SEPARATOR)]
    .filter(({ index }) => index === 0 || /\n\r?\n$/.test(text.slice(Math.max(0, index - 3), index)))
    .map(({ index }) => index);
  return starts[0] === 0 ? starts.map((start, each) => file.subarray(start, starts[each + 1])) : [file];
}
