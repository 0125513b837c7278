import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readBounce } from '../../../domain/bounce/message/readBounce.ts';
import { type BounceReport, READ_LIMITS } from '../../../domain/bounce/message/report.ts';
import { deliveryStatus, feedback, notification, ORIGINAL, octets } from './messageSamples.ts';

const RECIPIENT = 'Final-Recipient: rfc822; jane@example.net\nAction: failed\nStatus: 5.1.1';
const DAEMON = 'MAILER-DAEMON@mx.example.net';
const QMAIL = notification(
  DAEMON,
  'failure notice',
  `<jane@example.net>:\nRemote host said: 550 5.1.1 User unknown\n\n--- Below this line is a copy of the message.\n\n${ORIGINAL}`,
);
const WELL_FORMED = [
  deliveryStatus([`${RECIPIENT}\nDiagnostic-Code: smtp; 550 5.1.1 User unknown`]),
  feedback('Feedback-Type: abuse\nVersion: 1\nOriginal-Rcpt-To: jane@example.net'),
  QMAIL,
].map(octets);

/** What holds of every report, whatever the octets were. */
function expectWellFormed(reports: readonly BounceReport[], message: Uint8Array): void {
  expect(reports.length).toBeGreaterThanOrEqual(1);
  expect(reports.map(({ n }) => n)).toEqual(reports.map((_, index) => index + 1));
  for (const each of reports) {
    expect(each.action === 'none').toBe(each.kind === 'none');
    expect(each.category === null).toBe(each.kind === 'none');
    expect(each.kind === 'hard').toBe(each.action === 'hard');
    if (each.kind !== 'none') expect(['dsn', 'text']).toContain(each.source);
    expect(each.rule).not.toBe('');
    expect(each.octets).toBe(message.length);
    expect(each.octetsRead).toBeLessThanOrEqual(each.octets);
    const texts = [
      each.recipient,
      each.finalRecipient,
      each.originalRecipient,
      each.diagnostic,
      each.remoteMta,
      each.status,
      each.feedbackType,
      each.originalMessageId,
      ...each.returnPathTokenCandidates,
    ];
    for (const text of texts) {
      if (text === null) continue;
      expect(text).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u);
      expect(text.length).toBeLessThanOrEqual(2000);
      expect(text.isWellFormed()).toBe(true);
    }
  }
}

describe('readBounce never throws', () => {
  it('on random octets', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), async (message) => {
        expectWellFormed(await readBounce(message), message);
      }),
      { numRuns: 150 },
    );
  });

  it('on random words of bounces', async () => {
    const word = fc.constantFrom(
      '\n',
      '\n\n',
      '\r\n',
      ' ',
      ':',
      '; ',
      '--frontier\n',
      '--frontier--',
      '<',
      '>',
      '@',
      'jane@example.net',
      'From: MAILER-DAEMON\n',
      'Subject: failure notice\n',
      'Content-Type: multipart/report; boundary=frontier\n',
      'Content-Type: message/delivery-status\n\n',
      'Content-Type: message/rfc822\n\n',
      'Final-Recipient: rfc822; ',
      'Original-Recipient:',
      'Action: failed\n',
      'Action: delayed\n',
      'Status: 5.1.1\n',
      'Diagnostic-Code: smtp; ',
      '550 5.1.1 User unknown',
      '>>> RCPT To:<a@b.test>\n',
      '<<< 550 no\n',
      'Received: from a\n',
      '--- Below this line is a copy of the message.\n',
      'Content-Transfer-Encoding: base64\n',
      '=?utf-8?B?',
      '?=',
      '\u0000',
      '\ud800',
      '\u2028',
      'é',
      'Feedback-Type: abuse\n',
      'Auto-Submitted: auto-replied\n',
      'charset=x',
    );
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 120 }), async (words) => {
        const message = octets(words.join(''));
        expectWellFormed(await readBounce(message), message);
      }),
      { numRuns: 400 },
    );
  });

  it('on reports that were cut off or changed on their way', async () => {
    const change = fc.record({ at: fc.nat(), octet: fc.nat({ max: 255 }), length: fc.nat({ max: 40 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...WELL_FORMED),
        fc.array(change, { maxLength: 8 }),
        fc.option(fc.nat()),
        async (whole, changes, cut) => {
          const changed = Uint8Array.from(whole);
          for (const { at, octet, length } of changes) {
            const start = at % changed.length;
            changed.fill(octet, start, start + 1 + length);
          }
          const message = cut === null ? changed : changed.subarray(0, cut % changed.length);
          expectWellFormed(await readBounce(message), message);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('readBounce is bounded', () => {
  const MEGABYTE = 1024 * 1024;
  const repeated = (unit: string, length = 2 * MEGABYTE) => unit.repeat(Math.ceil(length / unit.length));
  const failing = (body: string) => octets(notification(DAEMON, 'failure notice', body));
  const status = (body: string) =>
    octets(
      `Content-Type: multipart/report; boundary=f\n\n--f\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; a\n\n${body}`,
    );
  const nested = Array.from(
    { length: 5000 },
    (_, level) => `--b${level}\nContent-Type: multipart/mixed; boundary=b${level + 1}\n\n`,
  ).join('');

  const cases: [string, Uint8Array][] = [
    ['multiparts in multiparts', octets(`Content-Type: multipart/mixed; boundary=b0\n\n${nested}`)],
    ['messages in messages', octets(repeated('Content-Type: message/rfc822\n\n'))],
    ['thousands of parts', octets(`Content-Type: multipart/mixed; boundary=b\n\n${repeated('--b\n\nx\n')}`)],
    [
      'thousands of reports',
      octets(
        `Content-Type: multipart/mixed; boundary=b\n\n${repeated(`--b\nContent-Type: message/delivery-status\n\n${RECIPIENT}\n\n`)}`,
      ),
    ],
    ['thousands of recipients', status(repeated(`${RECIPIENT}\n\n`))],
    [
      'thousands of recipients in words',
      failing(Array.from({ length: 20_000 }, (_, i) => `<u${i}@example.net>: 550 no\n`).join('\n')),
    ],
    ['one recipient named thousands of times', failing(repeated('<jane@example.net>: 450 later\n'))],
    [
      'a transcript without end',
      failing(repeated('>>> RCPT To:<a@b.test>\n<<< 550 x\n550 <a@b.test>... no\n')),
    ],
    ['nothing but line ends', failing(repeated('\n'))],
    ['nothing but spaces', failing(repeated(' '))],
    ['nothing but at signs', failing(repeated('a@'))],
    ['a domain without end', failing(`a@${repeated('a.')}`)],
    ['rules of dashes', failing(`words\n${repeated('- - - - original\n')}`)],
    [
      'words that rules look for',
      failing(repeated('user not mailbox could 550 host domain unknown exceeded ')),
    ],
    ['tags that never close', octets(`From: ${DAEMON}\nContent-Type: text/html\n\n${repeated('<')}`)],
    [
      'tables in tables',
      octets(`From: ${DAEMON}\nContent-Type: text/html\n\n${repeated('<table><tr><td>')}`),
    ],
    ['a header of megabytes', octets(`To: ${repeated('jane@example.net, ')}\n\n`)],
    ['thousands of header fields', octets(repeated('X-Header: value\n'))],
    ['a field folded without end', octets(`Subject: a\n${repeated(' a\n')}`)],
    ['50 MB of nothing', new Uint8Array(50 * MEGABYTE)],
    [
      '50 MB of text',
      failing(repeated('The quick brown fox jumps over the lazy dog, and again.\n', 50 * MEGABYTE)),
    ],
  ];
  // Each takes a second at most; the time-out only tells that from minutes.
  it.each(cases)('%s', { timeout: 30_000 }, async (_, message) => {
    const reports = await readBounce(message);
    expectWellFormed(reports, message);
    expect(reports.length).toBeLessThanOrEqual(READ_LIMITS.recipients);
    expect(reports[0]!.octetsRead).toBeLessThanOrEqual(READ_LIMITS.octets);
  });
});
