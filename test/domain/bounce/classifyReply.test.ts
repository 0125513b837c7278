import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { classifyReply } from '../../../domain/bounce/classifyReply.ts';
import { parseReplyText } from '../../../domain/bounce/replyText.ts';
import { RULES } from '../../../domain/bounce/rules.ts';
import { CATEGORIES, type SmtpPhase } from '../../../domain/bounce/verdict.ts';

const PHASES: SmtpPhase[] = [
  'connect',
  'greeting',
  'ehlo',
  'starttls',
  'auth',
  'mail',
  'rcpt',
  'data',
  'message',
  'final',
  'quit',
];

function verdictOn(text: string, phase: SmtpPhase | null = 'rcpt', speaker?: 'own_relay' | 'exchanger') {
  return classifyReply({ reply: parseReplyText(text), phase, ...(speaker && { speaker }) });
}

/** What providers write, from their public documentation and the sources of the mail servers. */
const HARD: [string, string][] = [
  // Postfix
  [
    '550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown in local recipient table',
    'user_unknown',
  ],
  [
    '550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown in virtual mailbox table',
    'user_unknown',
  ],
  [
    '550 5.1.1 <jane@example.com>: Recipient address rejected: undeliverable address: host mx.example.com[192.0.2.1] said: 550 No such user',
    'user_unknown',
  ],
  ['550 5.1.2 <jane@nodomain.example>: Recipient address rejected: Domain not found', 'user_unknown'],
  [
    'Host or domain name not found. Name service error for name=nodomain.example type=A: Host not found',
    'host_unknown',
  ],
  // Exim
  ['550 Unrouteable address', 'user_unknown'],
  ['550 Unknown user', 'user_unknown'],
  ['550 No such user here', 'user_unknown'],
  ['550 "Unknown User"', 'user_unknown'],
  ['550 unknown recipient', 'user_unknown'],
  // Sendmail, qmail, OpenSMTPD, Courier, hMailServer, IronPort
  ['550 5.1.1 <jane@example.com>... User unknown', 'user_unknown'],
  ['550 5.1.2 <jane@nodomain.example>... Host unknown (Name server: host not found)', 'host_unknown'],
  ['550 sorry, no mailbox here by that name. (#5.1.1)', 'user_unknown'],
  ['550 sorry, no mailbox here by that name (#5.1.1 - chkusr)', 'user_unknown'],
  ['550 Invalid recipient: <jane@example.com>', 'user_unknown'],
  ['550 5.1.1 Invalid recipient', 'user_unknown'],
  ['550 Unknown user jane@example.com', 'user_unknown'],
  ['550 #5.1.0 Address rejected.', 'user_unknown'],
  ['550 5.1.0 Address rejected jane@example.com', 'user_unknown'],
  // Gmail and Google Workspace
  [
    "550-5.1.1 The email account that you tried to reach does not exist. Please try double-checking the recipient's email address for typos or unnecessary spaces. For more information, go to https://support.google.com/mail/?p=NoSuchUser x - gsmtp",
    'user_unknown',
  ],
  // Exchange and Exchange Online, Outlook.com
  ['550 5.1.1 RESOLVER.ADR.RecipNotFound; not found', 'user_unknown'],
  [
    '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient jane@example.com not found by SMTP address lookup',
    'user_unknown',
  ],
  [
    '550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [X.prod.protection.outlook.com]',
    'user_unknown',
  ],
  ['550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)', 'user_unknown'],
  [
    '550 5.1.351 Remote server returned unknown recipient or mailbox unavailable -> 550 5.1.1 User unknown',
    'user_unknown',
  ],
  ['550 5.4.310 DNS domain nodomain.example does not exist [Message=InfoDomainNonexistent]', 'host_unknown'],
  // Yahoo and AOL
  [
    "554 delivery error: dd This user doesn't have a yahoo.com account (jane@yahoo.com) [0] - mta1.mail.ne1.yahoo.com",
    'user_unknown',
  ],
  ['552 1 Requested mail action aborted, mailbox not found', 'user_unknown'],
  ['550 5.1.1 <jane@example.com>: Recipient address rejected: example.com User unknown', 'user_unknown'],
  // Amazon SES and WorkMail
  ['550 5.1.1 Mailbox does not exist', 'user_unknown'],
  [
    'Amazon SES has suppressed sending to this address because it has a recent history of bouncing as an invalid address.',
    'user_unknown',
  ],
  // iCloud, mail.ru, Yandex, QQ, GMX, Orange, Mimecast, Proofpoint, Zoho, Fastmail
  ['550 5.1.1 unknown or illegal alias: jane@example.com', 'user_unknown'],
  [
    '550 Message was not accepted -- invalid mailbox. Local mailbox jane@example.com is unavailable: user not found',
    'user_unknown',
  ],
  ['550 5.7.1 No such user!', 'user_unknown'],
  ['550 Mailbox not found. http://service.mail.example/cgi-bin/help', 'user_unknown'],
  ['550 Requested action not taken: mailbox unavailable', 'user_unknown'],
  ['550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR_416 [416]', 'user_unknown'],
  ['550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550', 'user_unknown'],
  ['550 5.1.1 User Unknown', 'user_unknown'],
  ['550 5.1.1 <jane@example.com>: user lookup success but no user record found', 'user_unknown'],
  ['550 relaying failed: Invalid address, ERROR_CODE :550, User Unknown', 'user_unknown'],
  // Others
  ['550 The recipient jane@example.com is not a valid mailbox', 'user_unknown'],
  ['550 jane@example.com is not a known user', 'user_unknown'],
  ['550 Recipient not found', 'user_unknown'],
  ['550 this email address is wrong or no longer valid', 'user_unknown'],
  ['550 account has been deleted', 'user_unknown'],
  ['550 not our customer', 'mailbox_moved'],
  ['551 5.1.6 Recipient has moved; no forwarding address', 'mailbox_moved'],
  ['556 5.1.10 Domain nodomain.example does not accept mail (nullMX)', 'no_mail_accepted'],
  ['550 Usuario desconocido', 'user_unknown'],
  ['550 Empfänger unbekannt', 'user_unknown'],
  ['550 cannot find this user', 'user_unknown'],
  ['550 We do not have such user', 'user_unknown'],
  ['550 ERR_USER_NOT_FOUND', 'user_unknown'],
  ['550 5.4.1 All recipient addresses rejected : Access denied. AS(201806281)', 'user_unknown'],
  ['550 Destinatário desconhecido', 'user_unknown'],
  ['550 收件人不存在', 'user_unknown'],
  ['550 Пользователь не найден', 'user_unknown'],
  ['550 jane@example.com: account deleted', 'user_unknown'],
  ['551 jane@example.com has been replaced by other@example.com', 'mailbox_moved'],
  [
    '550 5.0.350 Remote server returned an error -> 550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown',
    'user_unknown',
  ],
  ['550 5.4.4 No mail servers appear to exist for the recipient', 'host_unknown'],
  // Codes alone
  ['550 5.1.1', 'user_unknown'],
  ['550 5.1.2', 'host_unknown'],
  ['550 5.1.6', 'mailbox_moved'],
  ['501 5.1.3 Bad recipient address syntax', 'user_unknown'],
];

const NOT_HARD: [string, 'soft' | 'rejected', string, 'ours' | 'recipient'][] = [
  // Full
  [
    "552-5.2.2 The recipient's inbox is out of storage space and inactive. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaPerm - gsmtp",
    'soft',
    'mailbox_full',
    'recipient',
  ],
  ['552 5.2.2 Mailbox full', 'soft', 'mailbox_full', 'recipient'],
  ['552 5.1.1 Recipient overquota', 'soft', 'mailbox_full', 'recipient'],
  ['550 5.1.1 <jane@example.com> mailbox is full', 'soft', 'mailbox_full', 'recipient'],
  [
    '554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded',
    'soft',
    'mailbox_full',
    'recipient',
  ],
  ['452 4.2.2 The email account that you tried to reach is over quota', 'soft', 'mailbox_full', 'recipient'],
  ['552 jane@example.com has exceeded the allowed storage', 'soft', 'mailbox_full', 'recipient'],
  ['452 4.3.1 Insufficient system storage', 'soft', 'system', 'recipient'],
  [
    "550 5.1.1 The number of messages in the recipient's mailbox exceeded the local limit",
    'soft',
    'mailbox_full',
    'recipient',
  ],
  // Inactive
  [
    '550-5.2.1 The email account that you tried to reach is inactive. For more information, go to https://support.google.com/mail/?p=DisabledUser',
    'soft',
    'mailbox_inactive',
    'recipient',
  ],
  [
    '550 5.2.1 The email account that you tried to reach is disabled.',
    'soft',
    'mailbox_inactive',
    'recipient',
  ],
  [
    '554 30 Sorry, your message to jane@yahoo.com cannot be delivered. This mailbox is disabled (554.30).',
    'soft',
    'mailbox_inactive',
    'recipient',
  ],
  ['550 5.5.0 The recipient account is blocked. LPN007_426', 'soft', 'mailbox_inactive', 'recipient'],
  ['550 User jane@example.com suspended', 'soft', 'mailbox_inactive', 'recipient'],
  // Us: listed, limited, not let in
  [
    '554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org',
    'soft',
    'reputation',
    'ours',
  ],
  [
    '550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal visit https://sender.office.com',
    'soft',
    'reputation',
    'ours',
  ],
  [
    "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3140).",
    'soft',
    'reputation',
    'ours',
  ],
  [
    '550 mailbox unavailable, your IP address 192.0.2.1 is blocked, see https://www.example.com/block',
    'soft',
    'reputation',
    'ours',
  ],
  ['554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1', 'soft', 'reputation', 'ours'],
  ['550 csi.mimecast.org Poor Reputation Sender', 'soft', 'reputation', 'ours'],
  [
    '421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints',
    'soft',
    'reputation',
    'ours',
  ],
  ['421 4.7.28 Our system has detected an unusual rate of unsolicited mail', 'soft', 'rate_limit', 'ours'],
  ['451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited', 'soft', 'rate_limit', 'ours'],
  ['454 Throttling failure: Maximum sending rate exceeded.', 'soft', 'rate_limit', 'ours'],
  ['454 Throttling failure: Daily message quota exceeded.', 'soft', 'rate_limit', 'ours'],
  ['550 5.4.5 Daily user sending quota exceeded.', 'soft', 'rate_limit', 'ours'],
  [
    '550 Domain example.org has exceeded the max defers and failures per hour (5/5 (100%)) allowed. Message discarded.',
    'soft',
    'rate_limit',
    'ours',
  ],
  ['550 Too many invalid recipients', 'soft', 'rate_limit', 'ours'],
  ['530 5.7.0 Must issue a STARTTLS command first', 'soft', 'authentication', 'ours'],
  ['530 Authentication required', 'soft', 'authentication', 'ours'],
  ['535 Authentication Credentials Invalid', 'soft', 'authentication', 'ours'],
  ['554 5.7.1 <jane@example.com>: Relay access denied', 'soft', 'relay_refused', 'ours'],
  ['550 5.7.1 Unable to relay', 'soft', 'relay_refused', 'ours'],
  ['550 relay not permitted', 'soft', 'relay_refused', 'ours'],
  // Our authentication, our sender
  [
    '550 5.7.515 Access denied, sending domain EXAMPLE.ORG does not meet the required authentication level.',
    'rejected',
    'authentication',
    'ours',
  ],
  [
    '550-5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail requires all senders to authenticate with either SPF or DKIM.',
    'rejected',
    'authentication',
    'ours',
  ],
  [
    "550 5.1.0 192.0.2.1 is not allowed to send from example.org per it's SPF Record",
    'rejected',
    'authentication',
    'ours',
  ],
  ['550 5.1.8 <news@example.org>: Sender address rejected: Domain not found', 'rejected', 'policy', 'ours'],
  [
    '550 <news@example.org>: Sender address rejected: User unknown in virtual mailbox table',
    'rejected',
    'policy',
    'ours',
  ],
  ['550 invalid domain in HELO', 'rejected', 'policy', 'ours'],
  ['550 5.1.1 Sender not known', 'rejected', 'policy', 'ours'],
  ['550 rejected: cannot verify sender; user unknown', 'rejected', 'policy', 'ours'],
  ['550 Sender verify failed', 'rejected', 'policy', 'ours'],
  ['550 5.7.27 Sender address has null MX', 'rejected', 'policy', 'ours'],
  // Policy and content
  ['550 Your domain does not exist', 'rejected', 'policy', 'recipient'],
  ['550 5.7.1 unknown host not allowed', 'rejected', 'policy', 'recipient'],
  ['550 5.6.0 invalid header found: address not valid', 'rejected', 'content', 'recipient'],
  [
    '550 5.1.1 Amazon SES did not send the message to this address because it is on the suppression list for your account.',
    'rejected',
    'policy',
    'recipient',
  ],
  ['550 5.1.1 Refused due to recipient preferences', 'rejected', 'policy', 'recipient'],
  ['554 5.7.9 Message not accepted for policy reasons', 'rejected', 'policy', 'recipient'],
  ['550 5.1.1 <jane@example.com>: Recipient rejected by local policy', 'rejected', 'policy', 'recipient'],
  ['550 5.7.0 Local Policy Violation', 'rejected', 'policy', 'recipient'],
  ['550 Administrative prohibition - envelope blocked', 'rejected', 'policy', 'recipient'],
  [
    '550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required',
    'rejected',
    'policy',
    'recipient',
  ],
  ['554 5.7.1 The message was rejected because it contains spam', 'rejected', 'content', 'recipient'],
  ['550 5.7.1 Message content rejected, UBE', 'rejected', 'content', 'recipient'],
  ['554 email rejected: virus found', 'rejected', 'content', 'recipient'],
  [
    '550-5.7.1 Our system has detected that this message is likely unsolicited mail.',
    'rejected',
    'content',
    'recipient',
  ],
  ['552 5.3.4 Message size exceeds fixed limit', 'rejected', 'message_too_large', 'recipient'],
  ['552 5.3.4 Error: message file too big', 'rejected', 'message_too_large', 'recipient'],
  ['550 5.2.3 Message length exceeds administrative limit', 'rejected', 'message_too_large', 'recipient'],
  // Temporary
  [
    '450 4.2.0 <jane@example.com>: Recipient address rejected: Greylisted',
    'soft',
    'greylisting',
    'recipient',
  ],
  [
    '450 4.1.1 <jane@example.com>: Recipient address rejected: unverified address: User unknown',
    'soft',
    'user_unknown',
    'recipient',
  ],
  [
    '450 4.1.2 <jane@nodomain.example>: Recipient address rejected: Domain not found',
    'soft',
    'user_unknown',
    'recipient',
  ],
  ['451 4.3.0 Temporary lookup failure', 'soft', 'system', 'recipient'],
  ['421 4.3.2 Service shutting down', 'soft', 'system', 'recipient'],
  ['550 4.4.7 QUEUE.Expired; message expired', 'soft', 'expired', 'recipient'],
  [
    '450-4.2.1 The user you are trying to contact is receiving mail too quickly.',
    'soft',
    'rate_limit',
    'recipient',
  ],
  ['554 5.4.6 Too many hops', 'soft', 'system', 'recipient'],
  ['450 Requested mail action not taken: mailbox unavailable', 'soft', 'system', 'recipient'],
  // Nothing said
  ['550 Rejected', 'rejected', 'policy', 'recipient'],
  ['554 Transaction failed', 'rejected', 'policy', 'recipient'],
  ['503 Bad sequence of commands', 'rejected', 'protocol', 'ours'],
  ['550 delivery to the recipient failed: unknown error', 'rejected', 'policy', 'recipient'],
];

describe('classifyReply', () => {
  it.each(HARD)('takes the address for dead: %s', (text, category) => {
    expect(verdictOn(text, 'rcpt', 'exchanger')).toMatchObject({
      action: 'hard',
      category,
      fault: 'recipient',
    });
  });

  it.each(NOT_HARD)('does not take the address for dead: %s', (text, action, category, fault) => {
    expect(verdictOn(text)).toMatchObject({ action, category, fault });
  });

  it('never calls an address dead by a temporary reply', () => {
    for (const [text] of HARD) {
      const reply = parseReplyText(text);
      const temporary = {
        ...reply,
        code: 450,
        enhancedCode: reply.enhancedCode?.replace(/^5/, '4') ?? null,
        text: reply.text.replace(/\(#5/, '(#4').replace(/\b550\b/g, '450'),
      };
      expect(classifyReply({ reply: temporary, phase: 'rcpt' }).action, text).toBe('soft');
    }
  });

  it('never calls an address dead before it was named, and blames us before MAIL FROM', () => {
    for (const [text] of HARD) {
      for (const phase of PHASES.slice(0, PHASES.indexOf('rcpt'))) {
        const verdict = verdictOn(text, phase, 'exchanger');
        expect(verdict.action, `${phase}: ${text}`).not.toBe('hard');
        if (phase !== 'mail') expect(verdict).toMatchObject({ action: 'soft', fault: 'ours' });
      }
    }
  });

  it('doubts "user unknown" that is said only after DATA, unless the code confirms it', () => {
    expect(verdictOn('550 Unknown user jane@example.com', 'final').action).toBe('soft');
    expect(
      verdictOn('550 Unknown user jane@example.com (in reply to end of DATA command)', null).action,
    ).toBe('soft');
    expect(verdictOn('550 5.1.1 Unknown user jane@example.com', 'final').action).toBe('hard');
    expect(verdictOn('550 Unknown user jane@example.com (in reply to RCPT TO command)', null).action).toBe(
      'hard',
    );
    for (const text of ['550 Mailbox unavailable or access denied', '550 5.5.0 mailbox unavailable']) {
      expect(verdictOn(text, 'final', 'exchanger').action).toBe('soft');
      expect(verdictOn(text, 'rcpt', 'exchanger').action).toBe('hard');
    }
    expect(verdictOn('550 5.2.1 <jane@example.com>... User Unknown', null).action).toBe('soft');
    expect(verdictOn('550 5.2.1 <jane@example.com>... User Unknown', 'rcpt').action).toBe('hard');
  });

  it('does not doubt where a provider that saw the whole conversation calls the address dead', () => {
    const judge = (text: string) =>
      classifyReply({ reply: parseReplyText(text), phase: null, speaker: 'exchanger', calledDead: true });
    expect(judge('550 No such user here').action).toBe('hard');
    expect(judge('450 No such user here').action).toBe('soft');
    expect(judge('552 5.2.2 mailbox full').action).toBe('soft');
    expect(judge('550 5.7.1 rejected due to content policy').action).toBe('rejected');
  });

  it('takes the name of who said something for no part of it', () => {
    const said = 'host mx.example.com[192.0.2.1]:25 said: 554 5.3.0 unknown mailer error 255';
    expect(verdictOn(said, 'rcpt', 'exchanger')).toMatchObject({ action: 'soft', category: 'system' });
    expect(verdictOn('550 system error, user database not found', 'rcpt', 'exchanger').action).not.toBe(
      'hard',
    );
    const listed = '554 5.7.1 Client host mail.example.org[192.0.2.1] blocked using zen.spamhaus.org';
    expect(verdictOn(listed)).toMatchObject({ action: 'soft', category: 'reputation' });
  });

  it('takes no refusal of our own relay to relay for a verdict on the address', () => {
    for (const text of [
      "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
      '554 5.7.1 <jane@example.com>: Recipient address rejected: Access denied',
    ]) {
      expect(verdictOn(text, 'rcpt', 'own_relay')).toMatchObject({
        action: 'soft',
        category: 'relay_refused',
        fault: 'ours',
      });
      expect(verdictOn(text, 'rcpt', 'exchanger').action).toBe('hard');
    }
    expect(verdictOn('521 5.3.2 System not accepting network messages', 'rcpt', 'own_relay').action).toBe(
      'soft',
    );
    expect(verdictOn('521 5.3.2 System not accepting network messages', 'rcpt', 'exchanger').action).toBe(
      'hard',
    );
  });

  it.each([
    ['connect', '554 No SMTP service here', 'relay_unavailable'],
    ['greeting', '421 Too many concurrent connections', 'rate_limit'],
    ['starttls', '454 TLS not available due to temporary reason', 'relay_unavailable'],
    ['auth', '535 5.7.8 Error: authentication failed', 'authentication'],
    ['auth', '454 4.7.0 Temporary authentication failure', 'authentication'],
  ] as const)('holds back for a fault of ours at %s: %s', (phase, text, category) => {
    expect(verdictOn(text, phase)).toMatchObject({ action: 'soft', category, fault: 'ours' });
  });

  it('reads the wait that the server asks for, of soft replies only', () => {
    expect(verdictOn('450 4.2.0 Greylisted, try again in 300 seconds').retryAfterSeconds).toBe(300);
    expect(verdictOn('550 5.1.1 User unknown; do not try again in 300 seconds').retryAfterSeconds).toBeNull();
  });

  it('tells the sender from the recipient where the recipient’s domain is known', () => {
    const reply = parseReplyText('550 <news@example.org> rejected');
    expect(classifyReply({ reply, phase: 'rcpt', recipientDomain: 'example.com' }).action).toBe('rejected');
    expect(classifyReply({ reply, phase: 'rcpt', recipientDomain: 'example.org' }).action).toBe('hard');
  });

  it('answers every reply, in the words of a verdict', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 599 }),
        fc.option(fc.stringMatching(/^[245]\.\d{1,3}\.\d{1,3}$/)),
        fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...HARD.map(([text]) => text))),
        fc.option(fc.constantFrom(...PHASES)),
        (code, enhancedCode, text, phase) => {
          const verdict = classifyReply({ reply: { code, enhancedCode, text }, phase });
          expect(CATEGORIES).toContain(verdict.category);
          expect(['hard', 'soft', 'rejected']).toContain(verdict.action);
          if (code >= 400 && code < 500) expect(verdict.action).toBe('soft');
          if (code >= 200 && code < 300 && text === '' && enhancedCode === null) {
            expect(verdict.action).toBe('soft');
          }
        },
      ),
    );
  });

  // Quadratic time would pass the runner's limit by far.
  it.each([
    ['one long word', 'user'.repeat(25_000)],
    ['one long sentence', 'user unknow '.repeat(8_000)],
    ['dots', 'a.'.repeat(50_000)],
    ['at signs', 'a@'.repeat(50_000)],
  ])('takes linear time over hostile text: %s', (_, text) => {
    expect(CATEGORIES).toContain(
      classifyReply({ reply: { code: 550, enhancedCode: null, text }, phase: 'rcpt' }).category,
    );
  });
});

describe('the rules', () => {
  it('have names that tell them apart, and sources', () => {
    expect(new Set(RULES.map(({ name }) => name)).size).toBe(RULES.length);
    for (const { source } of RULES) expect(source).toMatch(/RFC \d|https:\/\/|qmail/);
  });
});

describe('parseReplyText', () => {
  it.each([
    ['550 5.1.1 User unknown', 550, '5.1.1', 'User unknown'],
    ['smtp; 550-5.1.1 No such 550 5.1.1 user', 550, '5.1.1', 'No such user'],
    ['550-5.1.1 No such\r\n550 5.1.1 user', 550, '5.1.1', 'No such user'],
    [
      'host mx.example.com[192.0.2.1] said: 550 5.7.1 Go away (in reply to RCPT TO command)',
      550,
      '5.7.1',
      'host mx.example.com[192.0.2.1] said: Go away (in reply to RCPT TO command)',
    ],
    ["Remote Server returned '550 5.1.0 nope'", 550, '5.1.0', "Remote Server returned ' nope'"],
    ['554 554 5.7.0 Header error', 554, '5.7.0', 'Header error'],
    ['550 sorry, no mailbox here (#5.1.1)', 550, '5.1.1', 'sorry, no mailbox here ( )'],
    ['mailbox is full', 0, null, 'mailbox is full'],
    [
      'connect to 192.0.2.55[192.0.2.55]:25: timed out',
      0,
      null,
      'connect to 192.0.2.55[192.0.2.55]:25: timed out',
    ],
    ['421', 421, null, ''],
    ['', 0, null, ''],
  ])('reads %j', (text, code, enhancedCode, rest) => {
    expect(parseReplyText(text)).toEqual({ code, enhancedCode, text: rest });
  });
});
