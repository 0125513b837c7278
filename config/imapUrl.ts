import { isLoopback } from './loopback.ts';

/** A mailbox as configured. */
export interface ImapSettings {
  readonly host: string;
  readonly port: number;
  readonly tls: 'implicit' | 'starttls' | 'none';
  readonly auth: { readonly user: string; readonly password: string };
  readonly mailbox: string;
}

const form =
  'must be imaps://user:password@host:port/mailbox, or imap://user:password@host:port/mailbox?tls=starttls|none';

/** Reads HEED_IMAP_URL. Returns what is wrong with it as a sentence that does not repeat the password. */
export function parseImapUrl(value: string): ImapSettings | string {
  if (!URL.canParse(value)) return form;
  const url = new URL(value);
  const implicit = url.protocol === 'imaps:';
  if (!implicit && url.protocol !== 'imap:') return form;
  if (url.hostname === '' || url.username === '' || url.password === '') return form;
  for (const name of url.searchParams.keys()) {
    if (name !== 'tls') return `has the unknown part ${name}=; only tls= may follow the question mark`;
  }
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const tls = implicit ? 'implicit' : (url.searchParams.get('tls') ?? 'starttls');
  if (implicit && url.searchParams.has('tls')) return 'begins with imaps://, so that tls= has no meaning';
  if (tls !== 'implicit' && tls !== 'starttls' && tls !== 'none') return 'must say tls=starttls or tls=none';
  if (tls === 'none' && !isLoopback(host)) {
    return 'would send the password without encryption; tls=none is only for a server on this machine';
  }
  return {
    host,
    port: url.port === '' ? (implicit ? 993 : 143) : Number(url.port),
    tls,
    auth: { user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) },
    mailbox: decodeURIComponent(url.pathname.slice(1)) || 'INBOX',
  };
}
