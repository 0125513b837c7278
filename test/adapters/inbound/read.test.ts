import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { InboundSource } from '../../../domain/inbound.ts';
import { dsn, feedback, testReader, testReturnPath, UNSUBSCRIBE } from '../../support/inbound.ts';

const SEND = '01890a5d-ac96-774b-bcce-b302099a8057';
const WEBHOOKS = ['ses', 'sendgrid', 'mailgun', 'postmark'] as const;

/** What a reader may do: say what it understood, or that it cannot. Anything else would be tried for ever. */
async function readsOrRefuses(source: InboundSource, content: Uint8Array | string): Promise<void> {
  try {
    const understood = await testReader({ source, content: Buffer.from(content), recipients: [] });
    expect(Array.isArray(understood.findings)).toBe(true);
    for (const finding of understood.findings) {
      expect(typeof finding.rule).toBe('string');
      for (const id of [...finding.sendIds, ...finding.messageIds]) expect(typeof id).toBe('string');
    }
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
  }
}

/** JSON that looks like a provider's, with anything anywhere in it. */
const KEYS = [
  ...[
    'Message',
    'notificationType',
    'eventType',
    'mail',
    'source',
    'commonHeaders',
    'messageId',
    'headers',
    'bounce',
  ],
  ...[
    'bounceType',
    'bounceSubType',
    'bouncedRecipients',
    'diagnosticCode',
    'complaint',
    'event',
    'smtp-id',
    'reason',
  ],
  ...[
    'event-data',
    'severity',
    'delivery-status',
    'code',
    'message',
    'message-id',
    'user-variables',
    'heed_send',
  ],
  ...['RecordType', 'Type', 'Metadata', 'Details', 'type', 'status'],
];
const WORDS = [
  'Bounce',
  'Permanent',
  'General',
  'bounce',
  'failed',
  'permanent',
  'HardBounce',
  'dropped',
  'Complaint',
];
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(...WORDS),
    fc.string(),
    fc.integer(),
    fc.constantFrom(null, true, '550 5.1.1 user unknown', '\0', '\ud800', '__proto__'),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...KEYS, '__proto__', 'constructor'), tie('value'), { maxKeys: 8 }),
  ),
}));

describe('reading what came in', () => {
  it.each(WEBHOOKS)('%s: whatever comes is understood or refused, and no reader breaks', async (source) => {
    await fc.assert(
      fc.asyncProperty(value, async (anything) => {
        const text = JSON.stringify(anything) ?? '';
        await readsOrRefuses(source, text);
        // SNS carries the notification as text within its own message.
        if (source === 'ses') await readsOrRefuses(source, JSON.stringify({ Message: text }));
      }),
      { numRuns: 300 },
    );
  });

  it.each(WEBHOOKS)('%s: octets that are no JSON', async (source) => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 500 }), (octets) => readsOrRefuses(source, octets)),
      { numRuns: 100 },
    );
    await readsOrRefuses(source, '['.repeat(100_000));
    await readsOrRefuses(source, `{"event":"bounce","reason":"${'550 5.1.1 '.repeat(90_000)}"}`);
  });

  it('a message of any octets is understood or is nothing', async () => {
    const good = [dsn({}), feedback({}), dsn({ to: testReturnPath.of(SEND) })].map((raw) => Buffer.from(raw));
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...good),
        fc.array(fc.tuple(fc.nat(2_000), fc.nat(255)), { maxLength: 20 }),
        fc.nat(2_000),
        async (message, changes, end) => {
          const broken = Buffer.from(message);
          for (const [at, octet] of changes) if (at < broken.length) broken[at] = octet;
          await readsOrRefuses('listener', broken.subarray(0, Math.max(end, 1)));
        },
      ),
      { numRuns: 150 },
    );
  });

  it('a signed return path is found in whichever field a server noted it', async () => {
    for (const field of ['Delivered-To', 'X-Original-To', 'Envelope-To', 'To']) {
      const content = Buffer.from(
        `${field}: <${testReturnPath.of(SEND)}>\r\n${dsn({}).replace(/^To: .*\r\n/m, '')}`,
      );
      const { findings } = await testReader({ source: 'imap', content, recipients: [] });
      expect(findings).toMatchObject([{ kind: 'hard_bounce', sendIds: [SEND] }]);
    }
  });

  it('a complaint is known by the signed return path that its report names, where nothing else is left', async () => {
    const content = Buffer.from(feedback({ mailFrom: testReturnPath.of(SEND) }));
    const { findings } = await testReader({ source: 'imap', content, recipients: [] });
    expect(findings).toMatchObject([{ kind: 'complaint', sendIds: [SEND], messageIds: [] }]);
    const forged = Buffer.from(feedback({ mailFrom: testReturnPath.of(SEND).replace(/.@/, '_@') }));
    const read = await testReader({ source: 'imap', content: forged, recipients: [] });
    expect(read.findings).toMatchObject([{ kind: 'complaint', sendIds: [] }]);
  });

  it('a header that was smuggled into the returned message proves nothing', async () => {
    const forged = dsn({ recipient: `ada@example.net\r\nX-Note: ${testReturnPath.of(SEND)}` });
    const { findings } = await testReader({
      source: 'listener',
      content: Buffer.from(forged),
      recipients: [],
    });
    expect(findings.flatMap(({ sendIds }) => sendIds)).toEqual([]);
  });

  it('a bounce of a message to the unsubscribe mailbox unsubscribes nobody', async () => {
    const { unsubscribes, findings } = await testReader({
      source: 'listener',
      content: Buffer.from(dsn({ to: UNSUBSCRIBE })),
      recipients: [UNSUBSCRIBE],
    });
    expect(unsubscribes).toEqual([]);
    expect(findings).toMatchObject([{ kind: 'hard_bounce', sendIds: [] }]);
  });

  it('a report counts in a mailbox that takes unsubscribing mail, too', async () => {
    const messageId = '<one@example.com>';
    const read = (content: string) =>
      testReader({ source: 'imap', content: Buffer.from(content), recipients: [] });
    expect(await read(dsn({ to: UNSUBSCRIBE, messageId }))).toMatchObject({
      findings: [{ kind: 'hard_bounce', messageIds: [messageId] }],
      unsubscribes: [],
    });
    expect(await read(feedback({ to: UNSUBSCRIBE, messageId }))).toMatchObject({
      findings: [{ kind: 'complaint', messageIds: [messageId] }],
      unsubscribes: [],
    });
  });
});
