import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  MAX_LINE_OCTETS,
  MAX_LINES,
  MAX_REPLY_OCTETS,
  ReplyParser,
  type ServerReply,
} from '../../../adapters/smtp/replyParser.ts';

function parse(text: string | Uint8Array): { replies: ServerReply[]; fault: string | null } {
  const parser = new ReplyParser();
  const replies = parser.push(Buffer.from(text as string));
  return { replies, fault: parser.fault };
}

describe('reply parser', () => {
  it.each([
    ['250 OK\r\n', 250, null, 'OK'],
    ['250\r\n', 250, null, ''],
    ['250 \r\n', 250, null, ''],
    ['550 5.1.1 No such user\r\n', 550, '5.1.1', 'No such user'],
    ['550 5.1.1\r\n', 550, '5.1.1', ''],
    ['550 #5.1.0 Address rejected.\r\n', 550, '5.1.0', 'Address rejected.'],
    ['450 4.2.1: Try later\r\n', 450, '4.2.1', 'Try later'],
    ['550 5.1.1.1 is not an enhanced code\r\n', 550, null, '5.1.1.1 is not an enhanced code'],
    ['354 3.0.0 has no class for it\r\n', 354, null, '3.0.0 has no class for it'],
    ['550-5.7.1 first\r\n550-5.7.1\r\n550-plain\r\n550 5.7.1 last\r\n', 550, '5.7.1', 'first plain last'],
    ['550-first\r\n550\r\n', 550, null, 'first'],
    ['250 bare line feed\n', 250, null, 'bare line feed'],
    ['550 nul\0 bell\x07 cr\rx\r\n', 550, null, 'nul  bell  cr x'],
    ['550 Müller unbekannt\r\n', 550, null, 'Müller unbekannt'],
  ])('reads %j', (text, code, enhancedCode, joined) => {
    const { replies, fault } = parse(text);
    expect(fault).toBeNull();
    expect(replies).toHaveLength(1);
    expect(replies[0]).toMatchObject({ code, enhancedCode, text: joined });
  });

  it('says of what it has read before what it said then', () => {
    const line = fc.constantFrom(
      '250 2.1.0 ok',
      '354 go on',
      '550 5.1.1 M\xfcller',
      '550 5.1.1 Müller',
      '250-one',
      '250 one',
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 60 }), fc.nat(30), (lines, ids) => {
        const all = lines.flatMap((text, index) => [text, `250 2.0.0 queued as ${index % (ids + 1)}`]);
        const one = new ReplyParser();
        const replies = all.flatMap((text) => one.push(Buffer.from(`${text}\r\n`, 'latin1')));
        const apart: ServerReply[] = [];
        let begun = '';
        for (const text of all) {
          begun += `${text}\r\n`;
          if (text[3] === ' ') {
            apart.push(...new ReplyParser().push(Buffer.from(begun, 'latin1')));
            begun = '';
          }
        }
        expect(replies).toEqual(apart);
      }),
    );
  });

  it('replaces bytes that are not UTF-8', () => {
    const { replies } = parse(Buffer.from('550 M\xfcller\r\n', 'latin1'));
    expect(replies[0]!.text).toBe('M\ufffdller');
  });

  it.each([
    ['\r\n'],
    ['25 short\r\n'],
    ['2500 long\r\n'],
    ['abc text\r\n'],
    ['150 preliminary\r\n'],
    ['600 too high\r\n'],
    ['250\ttab\r\n'],
    ['250-one\r\n251 another code\r\n'],
    ['HTTP/1.1 400 Bad Request\r\n'],
    ['\x16\x03\x01 a TLS record\r\n'],
  ])('calls %j no SMTP', (text) => {
    const { replies, fault } = parse(text);
    expect(replies).toEqual([]);
    expect(fault).not.toBeNull();
  });

  it('keeps the replies before the fault and parses nothing after it', () => {
    const parser = new ReplyParser();
    expect(parser.push(Buffer.from('250 good\r\ngarbage\r\n250 late\r\n'))).toHaveLength(1);
    expect(parser.push(Buffer.from('250 later\r\n'))).toEqual([]);
    expect(parser.fault).not.toBeNull();
  });

  it('ends an endless line, an endless reply and too many lines', () => {
    expect(parse(`250 ${'x'.repeat(MAX_LINE_OCTETS)}`).fault).toMatch(/longer/);
    expect(parse('250-x\r\n'.repeat(MAX_LINES + 1)).fault).toMatch(/longer/);
    const lines = MAX_REPLY_OCTETS / 1000 + 1;
    expect(parse(`250-${'x'.repeat(1000)}\r\n`.repeat(lines)).fault).toMatch(/longer/);
  });

  it('knows that a reply is on its way', () => {
    const parser = new ReplyParser();
    expect(parser.midReply).toBe(false);
    parser.push(Buffer.from('2'));
    expect(parser.midReply).toBe(true);
    parser.push(Buffer.from('50-a\r\n'));
    expect(parser.midReply).toBe(true);
    parser.push(Buffer.from('250 b\r\n'));
    expect(parser.midReply).toBe(false);
  });

  const line = fc.tuple(
    fc.constantFrom('250', '550', '421', '99', 'abc', '', '2'),
    fc.constantFrom(' ', '-', '', '\t'),
    fc.oneof(fc.string(), fc.constantFrom('5.1.1 x', '#4.2.2 y', 'x'.repeat(MAX_LINE_OCTETS))),
    fc.constantFrom('\r\n', '\n', '\r', ''),
  );
  const stream = fc.oneof(
    fc.array(line, { maxLength: 200 }).map((lines) => Buffer.from(lines.flat().join(''))),
    fc.uint8Array({ maxLength: 20_000 }).map((bytes) => Buffer.from(bytes)),
  );

  it('gives the same replies however the bytes are cut, and never throws', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(30), { minLength: 1 }), (bytes, sizes) => {
        const whole = parse(bytes);
        const parser = new ReplyParser();
        const replies: ServerReply[] = [];
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const size = sizes[turn % sizes.length]! + 1;
          replies.push(...parser.push(bytes.subarray(at, at + size)));
          at += size;
        }
        expect(replies).toEqual(whole.replies);
        expect(parser.fault).toBe(whole.fault);
      }),
      { numRuns: 500 },
    );
  });

  it('gives texts within bounds and without control characters for any bytes', () => {
    fc.assert(
      fc.property(stream, (bytes) => {
        for (const reply of parse(bytes).replies) {
          expect(reply.code).toBeGreaterThanOrEqual(200);
          expect(reply.code).toBeLessThan(600);
          expect(reply.text.length).toBeLessThanOrEqual(MAX_REPLY_OCTETS);
          expect(reply.text).not.toMatch(/\p{Cc}/u);
        }
      }),
    );
  });

  it('keeps no more than a bounded part of an endless stream', () => {
    const parser = new ReplyParser();
    const chunk = Buffer.from('250-endless\r\n'.repeat(1000));
    const before = process.memoryUsage().heapUsed;
    for (let megabytes = 0; megabytes < 64 * 80; megabytes++) parser.push(chunk);
    expect(parser.fault).not.toBeNull();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(32 * 1024 * 1024);
  });
});
