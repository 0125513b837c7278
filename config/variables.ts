import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { z } from 'zod';
import { parseDkimKeys } from './dkimKeys.ts';
import { parseImapUrl } from './imapUrl.ts';
import { parseSmtpUrl } from './smtpUrl.ts';

/**
 * Every environment variable that Heed knows, once: its name, what it means, what holds when it is not set.
 * docs/configuration.md is written from this table (`npm run docs:config`).
 */

const port = z.coerce
  .number({ error: 'must be a port number' })
  .int('must be a port number')
  .min(1, 'must be a port number from 1 to 65535')
  .max(65535, 'must be a port number from 1 to 65535');

const count = (max: number, min = 1) => {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.coerce.number({ error }).int(error).min(min, error).max(max, error);
};

const hostAndPort = z.string().regex(/^[^\s/:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$/, 'must be host:port');

const webAddress = z.url({
  protocol: /^https?$/,
  error: 'must be an address that begins with http:// or https://',
});

const databaseUrl = z.url({
  protocol: /^postgres(ql)?$/,
  error: 'must be an address of the form postgres://user:password@host:port/database',
});

const smtpUrl = z.string().transform((value, context) => {
  const parsed = parseSmtpUrl(value);
  if (typeof parsed !== 'string') return parsed;
  context.addIssue({ code: 'custom', message: parsed });
  return z.NEVER;
});

const dkimKeys = z.string().transform((value, context) => {
  const parsed = parseDkimKeys(value);
  if (typeof parsed !== 'string') return parsed;
  context.addIssue({ code: 'custom', message: parsed });
  return z.NEVER;
});

/** Addresses with or without a port, as node:dns takes them. */
const dnsServers = z.string().transform((value, context) => {
  const servers = value.split(',').map((server) => server.trim());
  if (servers.every((server) => isIP(server.replace(/^\[(.*)\](:\d+)?$|^([\d.]+):\d+$/, '$1$3')) > 0))
    return servers;
  context.addIssue({
    code: 'custom',
    message: 'must be IP addresses separated by commas, such as 192.0.2.53 or [2001:db8::53]:53',
  });
  return z.NEVER;
});

const imapUrl = z.string().transform((value, context) => {
  const parsed = parseImapUrl(value);
  if (typeof parsed !== 'string') return parsed;
  context.addIssue({ code: 'custom', message: parsed });
  return z.NEVER;
});

/** As the settings of SendGrid show it: SubjectPublicKeyInfo in base64, without the lines of PEM around it. */
const ecPublicKey = z.string().transform((value, context) => {
  try {
    const key = createPublicKey({ key: Buffer.from(value, 'base64'), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType === 'ec') return key;
  } catch {
    // Told below.
  }
  context.addIssue({
    code: 'custom',
    message: 'must be the verification key of SendGrid, one line of base64',
  });
  return z.NEVER;
});

/** A file, or the key itself in PEM. */
const rsaPrivateKey = z.string().transform((value, context) => {
  try {
    const pem = value.startsWith('-----BEGIN') ? value.replaceAll('\\n', '\n') : readFileSync(value, 'utf8');
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'rsa') return key;
  } catch {
    // Told below.
  }
  context.addIssue({
    code: 'custom',
    message: 'must be an RSA private key, as a file or in PEM, without a password',
  });
  return z.NEVER;
});

const topicArns = z.string().transform((value, context) => {
  const arns = value.split(',').map((arn) => arn.trim());
  if (arns.every((arn) => /^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]+$/.test(arn))) return arns;
  context.addIssue({
    code: 'custom',
    message:
      'must be names of SNS topics, such as arn:aws:sns:eu-west-1:123456789012:bounces, separated by commas',
  });
  return z.NEVER;
});

const domainName = z
  .string()
  .regex(
    /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i,
    'must be a domain name, such as mail.example.com',
  );

/** RFC 5321 section 4.1.1.1: a domain name, or an address literal such as [192.0.2.1]. */
const ehloName = z.union([domainName, z.string().regex(/^\[[^\s[\]]+\]$/)], {
  error: 'must be a domain name, or an address in brackets such as [192.0.2.1]',
});

/** At least 32 bytes in base64, or `null`. */
function readKey(value: string): Uint8Array | null {
  const key = Buffer.from(value, 'base64');
  return /^[A-Za-z0-9+/]+={0,2}$/.test(value) && key.length >= 32 ? new Uint8Array(key) : null;
}

const secretKey = z.string().transform((value, context) => {
  const key = readKey(value);
  if (key !== null) return key;
  context.addIssue({
    code: 'custom',
    message: 'must be at least 32 bytes in base64: openssl rand -base64 32',
  });
  return z.NEVER;
});

const secretKeys = z.string().transform((value, context) => {
  const keys = value.split(',').map((one) => readKey(one.trim()));
  if (keys.every((key) => key !== null)) return keys;
  context.addIssue({
    code: 'custom',
    message: 'must be keys of at least 32 bytes in base64, separated by commas: openssl rand -base64 32',
  });
  return z.NEVER;
});

/** RFC 8058 section 3.1 asks for HTTPS; only a machine that talks to itself does without. */
const publicAddress = webAddress
  .refine((value) => /^https:|^http:\/\/(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:|\/|$)/i.test(value), {
    error: 'must begin with https://, unless it is of this machine alone',
  })
  .refine((value) => !/[?#@'"<>\s]/.test(value), {
    error: 'must have no user, no ? and no #',
  });

/** What the documentation says of a variable beside its type. */
export interface VariableDocs {
  readonly meaning: string;
  /** What holds when the variable is not set, for the reader; the value itself stands in the schema. */
  readonly unset: string;
  /** Never shown in a message. */
  readonly secret?: true;
}

const documented = <S extends z.ZodType>(schema: S, meaning: string, unset: string, secret?: true): S =>
  schema.meta({ meaning, unset, ...(secret ? { secret } : {}) } satisfies VariableDocs);

const withDefault = <S extends z.ZodType>(schema: S, value: z.input<S> & string, meaning: string) =>
  documented(schema.prefault(value), meaning, `\`${value}\``);

const required = 'required; `npm start` starts one of its own';

/** Read by the API and the worker. */
export const serviceVariables = {
  HEED_DATABASE_URL: documented(
    databaseUrl,
    'PostgreSQL database: `postgres://user:password@host:port/database`.',
    required,
    true,
  ),
  HEED_DATABASE_POOL_SIZE: withDefault(
    // The relay keeps one for each part of the outbox while it waits for others.
    count(500, 10),
    '20',
    'Most connections to PostgreSQL that one process keeps open.',
  ),
  HEED_TEMPORAL_ADDRESS: documented(hostAndPort, 'Temporal frontend, `host:port`.', required),
  HEED_TEMPORAL_NAMESPACE: withDefault(
    z.string().min(2).max(255),
    'heed',
    'Temporal namespace. Registered with a retention of 30 days when it is missing.',
  ),
  HEED_TEMPORAL_UI_URL: documented(
    webAddress.optional(),
    'Where people reach the Temporal UI; links to workflows begin with it.',
    'no links, except under `npm start`',
  ),
  HEED_API_HOST: withDefault(
    z.string().min(1),
    '127.0.0.1',
    'Address that the API listens on. `0.0.0.0` for every interface, behind a proxy that speaks TLS.',
  ),
  HEED_API_PORT: withDefault(port, '8080', 'Port of the API.'),
  HEED_IMPORT_MAX_MEGABYTES: withDefault(
    count(10_000),
    '256',
    'Largest CSV file that the API takes, in megabytes (1,048,576 bytes).',
  ),
  HEED_DELIVERY: withDefault(
    z.enum(['relay', 'direct'], { error: 'must be relay or direct' }),
    'relay',
    'How mail leaves: through a smart host (`relay`), or to the mail servers of each recipient (`direct`). ' +
      'docs/delivery.md tells what direct delivery needs.',
  ),
  HEED_SMTP_URL: documented(
    smtpUrl,
    'Smart host that mail leaves by: `smtp://user:password@host:port?tls=none|opportunistic|required` (port 587, ' +
      'STARTTLS required when left out) or `smtps://user:password@host:port` (port 465, TLS from the first byte).',
    'required with `HEED_DELIVERY=relay`; `npm start` starts the mailbox simulator',
    true,
  ),
  HEED_SMTP_PROVIDER: documented(
    z
      .enum(['sendgrid', 'mailgun', 'postmark'], { error: 'must be sendgrid, mailgun or postmark' })
      .optional(),
    'Provider behind the smart host: its own header in every message makes its webhooks name the send.',
    'no such header; Amazon SES needs none',
  ),
  HEED_SMTP_MAX_CONNECTIONS: withDefault(
    count(1000),
    '10',
    'Most connections to the smart host that one worker opens.',
  ),
  HEED_SMTP_MESSAGES_PER_CONNECTION: withDefault(
    count(100_000),
    '100',
    'Messages after which a connection to a mail server is ended and a new one opened.',
  ),
  HEED_SMTP_IDLE_SECONDS: withDefault(
    count(3600),
    '30',
    'Seconds after which an idle connection to a mail server is ended.',
  ),
  HEED_DIRECT_MAX_CONNECTIONS: withDefault(
    count(10_000),
    '100',
    'Direct delivery: most connections that one worker opens to all mail servers together.',
  ),
  HEED_DIRECT_CONNECTIONS: withDefault(
    count(1000),
    '5',
    'Direct delivery: most connections that one worker opens to the mail servers of one destination. Fewer where they ' +
      'say that it is too much.',
  ),
  HEED_DIRECT_MESSAGES_PER_MINUTE: withDefault(
    count(1_000_000),
    '600',
    'Direct delivery: most messages a minute from one worker to one destination. Fewer where its servers say that it is ' +
      'too much.',
  ),
  HEED_DIRECT_TLS: withDefault(
    z.enum(['opportunistic', 'encrypted', 'verified'], {
      error: 'must be opportunistic, encrypted or verified',
    }),
    'opportunistic',
    'Direct delivery: `opportunistic` encrypts where the server can; `encrypted` sends nothing in the clear; `verified` ' +
      "also wants a certificate that is valid for the server's name, which many mail servers do not have.",
  ),
  HEED_DIRECT_IP_VERSIONS: withDefault(
    z.enum(['4,6', '6,4', '4', '6'], { error: 'must be 4,6 or 6,4 or 4 or 6' }).transform((value) => {
      return value.split(',').map((version) => (version === '4' ? 4 : 6));
    }),
    '4,6',
    'Direct delivery: the Internet protocols to use, the preferred one first. IPv6 only where the address has a name.',
  ),
  HEED_DIRECT_PORT: withDefault(
    port,
    '25',
    'Direct delivery: port of the mail servers. Another one only for tests.',
  ),
  HEED_DIRECT_PRIVATE_ADDRESSES: withDefault(
    z.enum(['refuse', 'allow'], { error: 'must be refuse or allow' }),
    'refuse',
    'Direct delivery: whether to connect to mail servers at private addresses, this machine among them. `allow` only ' +
      'inside a closed network: whoever owns a domain decides where its records point.',
  ),
  HEED_DNS_SERVERS: documented(
    dnsServers.optional(),
    'DNS servers to ask for mail servers, separated by commas.',
    'those of the machine',
  ),
  HEED_DKIM_KEYS: documented(
    dkimKeys.optional(),
    'Keys that messages are signed with: `<selector>._domainkey.<domain>=<file or PEM>`, several separated by ' +
      'semicolons. RSA and Ed25519.',
    'messages are not signed by Heed',
    true,
  ),
  HEED_EHLO_NAME: documented(
    ehloName.prefault(() => hostname()),
    'Name that Heed greets mail servers with (RFC 5321 section 4.1.1.1).',
    'the host name of the machine',
  ),
  HEED_MESSAGE_ID_DOMAIN: documented(
    domainName,
    'Domain of yours that Message-IDs end in.',
    'required; `heed.localhost` with the mailbox simulator',
  ),
  HEED_ADDRESS_KEY: documented(
    secretKey,
    'Key of the hashes by which erased addresses are still honoured: at least 32 bytes in base64. Never change it, ' +
      'and keep a copy: without it the suppressions of erased people are lost.',
    'required; `npm start` makes one and keeps it in `HEED_DATA_DIR` with its own database',
    true,
  ),
  HEED_TOKEN_KEYS: documented(
    secretKeys,
    'Keys by which unsubscribe links and return addresses are signed: each at least 32 bytes in base64, separated by ' +
      'commas. The first one signs, all are accepted: to change it, put a new one in front and keep the old ones, ' +
      'since links in mail that was sent are used for years.',
    'required; `npm start` makes one and keeps it in `HEED_DATA_DIR` with its own database',
    true,
  ),
  HEED_PUBLIC_URL: documented(
    publicAddress,
    'Where recipients reach the API from the internet; unsubscribe links begin with it. Only `/u/` need be reachable.',
    'required; the address of the API with the mailbox simulator',
  ),
  HEED_RETURN_DOMAIN: documented(
    domainName.optional(),
    'Domain of the signed return addresses that reports about sends come back to. Its MX is Heed, or a server whose ' +
      'mailbox Heed reads.',
    'reports are known by the Message-ID that they quote',
  ),
  HEED_UNSUBSCRIBE_MAILBOX: documented(
    z.email('must be an email address, such as unsubscribe@mail.example.com').optional(),
    'Address whose mail Heed reads, for mail programs that unsubscribe by mail (RFC 2369).',
    'unsubscribing by link alone',
  ),
  HEED_INBOUND_PORT: documented(
    port.optional(),
    'Port of the SMTP server that takes bounces, complaints and unsubscribe messages; usually 25.',
    'no such server',
  ),
  HEED_INBOUND_HOST: withDefault(
    z.string().min(1),
    '127.0.0.1',
    'Address that this SMTP server listens on. `0.0.0.0` for every interface.',
  ),
  HEED_INBOUND_CERTIFICATE: documented(
    z.string().min(1).optional(),
    'File with the certificate of this SMTP server, in PEM, its chain behind it. Its name is `HEED_EHLO_NAME`.',
    'no STARTTLS',
  ),
  HEED_INBOUND_KEY: documented(
    z.string().min(1).optional(),
    'File with the key of that certificate, in PEM.',
    'no STARTTLS',
  ),
  HEED_ABUSE_MAILBOX: documented(
    z.email('must be an email address, such as abuse@mail.example.com').optional(),
    'Address that feedback loops send complaints to, which the SMTP server takes mail for.',
    'mail for the return domain and the unsubscribe mailbox alone',
  ),
  HEED_IMAP_URL: documented(
    imapUrl.optional(),
    'Mailbox that bounces are fetched from: `imaps://user:password@host:port/mailbox` (port 993, `INBOX` when left out) ' +
      'or `imap://user:password@host:port/mailbox?tls=starttls|none` (port 143, STARTTLS when left out).',
    'no mailbox is read',
    true,
  ),
  HEED_IMAP_DONE_MAILBOX: documented(
    z.string().min(1).optional(),
    'Mailbox that messages are moved to once they are kept. It is made where it is missing.',
    'they stay and get the keyword `$HeedDone`',
  ),
  HEED_IMAP_POLL_SECONDS: withDefault(
    count(86_400),
    '60',
    'Seconds between two looks into the mailbox. Read when the Schedule `heed-imap-poll` is made; change it there later.',
  ),
  HEED_SES_TOPIC_ARNS: documented(
    topicArns.optional(),
    'SNS topics that Amazon SES publishes bounces, complaints and deliveries to, separated by commas.',
    'no webhook of Amazon SES',
  ),
  HEED_SENDGRID_PUBLIC_KEY: documented(
    ecPublicKey.optional(),
    'Verification key of the signed Event Webhook of SendGrid.',
    'no webhook of SendGrid',
  ),
  HEED_MAILGUN_SIGNING_KEY: documented(
    z.string().min(1).optional(),
    'HTTP webhook signing key of Mailgun.',
    'no webhook of Mailgun',
    true,
  ),
  HEED_POSTMARK_CREDENTIALS: documented(
    z
      .string()
      .regex(/^[^:]+:.{16,}$/, 'must be user:password, with a password of at least 16 characters')
      .optional(),
    '`user:password` that stands in the address of the webhook of Postmark.',
    'no webhook of Postmark',
    true,
  ),
  HEED_SALESFORCE_LOGIN_URL: documented(
    publicAddress.optional(),
    'Login server of the org to sync with: `https://login.salesforce.com` (production), `https://test.salesforce.com` ' +
      '(sandbox), or the My Domain URL of the org, which client credentials need. See docs/salesforce.md.',
    'no sync with Salesforce',
  ),
  HEED_SALESFORCE_CLIENT_ID: documented(
    z.string().min(1).optional(),
    'Consumer key of the connected app, or external client app, that Heed is in Salesforce.',
    'required with `HEED_SALESFORCE_LOGIN_URL`',
  ),
  HEED_SALESFORCE_CLIENT_SECRET: documented(
    z.string().min(1).optional(),
    'Consumer secret of that app, for the OAuth client credentials flow.',
    'required with `HEED_SALESFORCE_LOGIN_URL`, unless there is a private key',
    true,
  ),
  HEED_SALESFORCE_PRIVATE_KEY: documented(
    rsaPrivateKey.optional(),
    'RSA key, as a file or in PEM, whose certificate that app has, for the OAuth JWT bearer flow.',
    'the client credentials flow is used',
    true,
  ),
  HEED_SALESFORCE_USERNAME: documented(
    z.string().min(1).optional(),
    'Username of the integration user, for the JWT bearer flow.',
    'required with `HEED_SALESFORCE_PRIVATE_KEY`',
  ),
  HEED_SALESFORCE_AUDIENCE: documented(
    webAddress.optional(),
    'Audience of the JWT: `https://login.salesforce.com` or `https://test.salesforce.com`, also where the login URL is a ' +
      'My Domain URL.',
    'the login URL',
  ),
  HEED_SALESFORCE_API_VERSION: withDefault(
    z.string().regex(/^\d{2,3}\.0$/, 'must be a version such as 62.0'),
    '62.0',
    'Version of the REST API.',
  ),
  HEED_SALESFORCE_API_RESERVE: withDefault(
    count(99),
    '20',
    "Percent of the org's daily API requests that are left to everybody else. Heed waits before it would use them.",
  ),
  HEED_SALESFORCE_CHANGES_SECONDS: withDefault(
    count(86_400),
    '60',
    'Seconds between two readings of what was changed. Read when the Schedule `heed-salesforce-changes` is made; change ' +
      'it there later.',
  ),
  HEED_SALESFORCE_FULL_AT: withDefault(
    z
      .string()
      .regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, 'must be a time of day such as 02:30')
      .transform((value) => {
        const [hour, minute] = value.split(':').map(Number);
        return { hour: hour!, minute: minute! };
      }),
    '02:30',
    'Time of day (UTC) of the full reconciliation. Read when the Schedule `heed-salesforce-full` is made; change it ' +
      'there later.',
  ),
  HEED_LOG_LEVEL: withDefault(
    z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace'], {
      error: 'must be fatal, error, warn, info, debug or trace',
    }),
    'info',
    'Least severe log entries that are written.',
  ),
};

/** Read by `npm start`, the tests and the benchmarks, for the services that they start themselves. */
export const embeddedVariables = {
  HEED_DATA_DIR: withDefault(
    z.string().min(1),
    '.heed',
    'Folder that `npm start` keeps its database, its Temporal state, its keys and its logs in.',
  ),
  HEED_POSTGRES_PORT: withDefault(port, '54320', 'Port of the PostgreSQL that `npm start` starts.'),
  HEED_TEMPORAL_PORT: withDefault(port, '7233', 'Port of the Temporal server that `npm start` starts.'),
  HEED_TEMPORAL_UI_PORT: withDefault(port, '8233', 'Port of the Temporal UI that `npm start` starts.'),
  HEED_SIMULATOR_SMTP_PORT: withDefault(port, '2525', 'SMTP port of the mailbox simulator.'),
  HEED_SIMULATOR_HTTP_PORT: withDefault(port, '8025', 'Port of the inbox page of the mailbox simulator.'),
  HEED_SALESFORCE_SIMULATOR_PORT: documented(
    port.optional(),
    'Port of a simulated Salesforce that `npm start` starts and syncs with, to see a sync without an org.',
    'none is started',
  ),
  HEED_TEMPORAL_BINARY: documented(
    z.string().min(1).optional(),
    'Temporal CLI to start the server with.',
    '`temporal` on PATH, then in the cache, then downloaded, then built with Go',
  ),
  HEED_TEST_SERVER_BINARY: documented(
    z.string().min(1).optional(),
    "Temporal's time-skipping test server, for the tests.",
    '`temporal-test-server` on PATH, then in the cache, then downloaded, then fetched with Maven',
  ),
  XDG_CACHE_HOME: documented(
    z.string().startsWith('/', 'must be an absolute path').optional(),
    'Folder under which `heed/` keeps what is made once: programs that were downloaded or built, and the bundled workflows.',
    '`~/.cache`',
  ),
  PATH: documented(z.string().prefault(''), 'Where programs are looked for.', 'nowhere'),
};

export const allVariables: Readonly<Record<string, z.ZodType>> = {
  ...serviceVariables,
  ...embeddedVariables,
};

/** Documentation of one variable of the table. */
export function docsOf(schema: z.ZodType): VariableDocs {
  return schema.meta() as unknown as VariableDocs;
}
