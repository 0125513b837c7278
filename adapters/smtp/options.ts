import type { ConnectionOptions } from 'node:tls';
import type { SmtpTimeouts } from './timeouts.ts';

/**
 * - `none`: never TLS.
 * - `opportunistic`: STARTTLS (RFC 3207) where it is offered, the certificate not verified unless `tlsOptions` says
 *   so. A server that offers it and then fails the handshake is not asked again in the clear.
 * - `required`: STARTTLS or nothing.
 * - `implicit`: TLS from the first byte (RFC 8314), mostly port 465.
 */
type TlsMode = 'none' | 'opportunistic' | 'required' | 'implicit';

export interface SmtpCredentials {
  readonly user: string;
  readonly password: string;
  /** Lets the password go over an unencrypted connection: for a server on this machine. Default no. */
  readonly allowPlaintext?: boolean;
}

/** How to reach one SMTP server. */
export interface SmtpServerOptions {
  readonly host: string;
  /** IP address to connect to, where the host's addresses were looked up already; the host is then only its name. */
  readonly address?: string;
  readonly port: number;
  readonly tls: TlsMode;
  readonly auth?: SmtpCredentials;
  /** Our name in EHLO: a host name that resolves, or an address literal (RFC 5321 section 4.1.1.1). */
  readonly clientName: string;
  readonly timeouts?: Partial<SmtpTimeouts>;
  readonly tlsOptions?: Pick<ConnectionOptions, 'ca' | 'rejectUnauthorized'>;
}

/** Throws a RangeError for settings that could not work or could not be written into a command. */
export function checkServerOptions(options: SmtpServerOptions): void {
  if (options.host === '') throw new RangeError('The SMTP host is empty.');
  if (!Number.isInteger(options.port) || options.port < 1 || options.port > 65_535) {
    throw new RangeError(`The SMTP port is not a number from 1 to 65535: ${options.port}`);
  }
  if (!/^[\x21-\x7e]+$/.test(options.clientName)) {
    throw new RangeError('The EHLO name has to be printable ASCII without spaces.');
  }
  if (options.auth !== undefined && /\0/.test(options.auth.user + options.auth.password)) {
    throw new RangeError('SMTP user and password cannot have a NUL character.'); // it separates them, RFC 4616
  }
}
