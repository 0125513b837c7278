import { type Check, fail, ok, warn } from '../check.ts';

/** How far encryption with a mail server came. */
export interface TlsTrial {
  readonly server: string;
  /** `verified`: with a certificate that is valid for its name. */
  readonly protection: 'verified' | 'encrypted' | 'none';
  /** What stood in the way of better. */
  readonly detail: string;
}

/** Encryption of reports on their way to the return domain (RFC 3207). */
export function judgeTls({ server, protection, detail }: TlsTrial): Check {
  const subject = `TLS of ${server}`;
  switch (protection) {
    case 'verified':
      return ok(subject, 'STARTTLS, with a valid certificate');
    case 'encrypted':
      return warn(
        subject,
        `STARTTLS, but the certificate is not valid: ${detail}`,
        'Have one made for the name in the MX record, by an authority that others know.',
      );
    case 'none':
      return warn(
        subject,
        `reports come unencrypted: ${detail}`,
        'Let it offer STARTTLS; where that is Heed, set HEED_INBOUND_CERTIFICATE and HEED_INBOUND_KEY.',
      );
  }
}

/** What is known of the certificate of our own SMTP server. */
export interface CertificateFacts {
  readonly matchesName: boolean;
  readonly matchesKey: boolean;
  readonly validTo: Date;
}

const DAY_MS = 86_400_000;
const RENEW_BEFORE_DAYS = 14;

/** @param facts a text: why it cannot be read */
export function judgeCertificate(name: string, facts: CertificateFacts | string, now: Date): Check {
  const subject = `Certificate of ${name}`;
  if (typeof facts === 'string') {
    return fail(
      subject,
      `it cannot be read: ${facts}`,
      'Set HEED_INBOUND_CERTIFICATE and HEED_INBOUND_KEY to files in PEM that belong together.',
    );
  }
  if (!facts.matchesKey) {
    return fail(
      subject,
      'it does not belong to the key',
      'Set HEED_INBOUND_KEY to the key that it was made for.',
    );
  }
  const days = Math.floor((facts.validTo.getTime() - now.getTime()) / DAY_MS);
  if (days < 0)
    return fail(subject, `it ran out on ${facts.validTo.toISOString().slice(0, 10)}`, 'Renew it.');
  if (!facts.matchesName) return warn(subject, `it is not for ${name}`, `Have one made for ${name}.`);
  if (days < RENEW_BEFORE_DAYS) {
    return warn(
      subject,
      `it runs out in ${days} days`,
      'Renew it, and see why that did not happen by itself.',
    );
  }
  return ok(subject, `valid for ${days} days`);
}
