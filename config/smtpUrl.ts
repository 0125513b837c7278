import { isLoopback } from './loopback.ts';

/** How a connection to the smart host is protected. */
export type SmtpTls =
  /** TLS from the first byte (RFC 8314). */
  | 'implicit'
  /** STARTTLS, and no mail without it (RFC 3207). */
  | 'required'
  /** STARTTLS where it is offered, its certificate not verified. */
  | 'opportunistic'
  | 'none';

/** A smart host as configured. */
export interface SmtpRelay {
  readonly host: string;
  readonly port: number;
  readonly tls: SmtpTls;
  readonly auth?: {
    readonly user: string;
    readonly password: string;
    /** Only for a server on this machine. */
    readonly allowPlaintext?: true;
  };
}

const form =
  'must be smtp://user:password@host:port?tls=none|opportunistic|required, or smtps://user:password@host:port';

/** Reads HEED_SMTP_URL. Returns what is wrong with it as a sentence that does not repeat the password. */
export function parseSmtpUrl(value: string): SmtpRelay | string {
  if (!URL.canParse(value)) return form;
  const url = new URL(value);
  const implicit = url.protocol === 'smtps:';
  if (!implicit && url.protocol !== 'smtp:') return form;
  if (url.hostname === '' || (url.pathname !== '' && url.pathname !== '/')) return form;
  for (const name of url.searchParams.keys()) {
    if (name !== 'tls') return `has the unknown part ${name}=; only tls= may follow the question mark`;
  }

  const host = url.hostname.replace(/^\[|\]$/g, '');
  const tls = implicit ? 'implicit' : (url.searchParams.get('tls') ?? 'required');
  if (implicit && url.searchParams.has('tls')) return 'begins with smtps://, so that tls= has no meaning';
  if (tls !== 'implicit' && tls !== 'required' && tls !== 'opportunistic' && tls !== 'none') {
    return 'must say tls=none, tls=opportunistic or tls=required';
  }
  if ((url.username === '') !== (url.password === ''))
    return 'must have both a user and a password, or neither';
  const relay = { host, port: url.port === '' ? (implicit ? 465 : 587) : Number(url.port), tls } as const;
  if (url.username === '') return relay;
  const auth = { user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) };
  if (tls === 'implicit' || tls === 'required') return { ...relay, auth };
  if (isLoopback(host)) return { ...relay, auth: { ...auth, allowPlaintext: true } };
  return `would send the password without a guarantee of encryption; say tls=required instead of tls=${tls}`;
}
