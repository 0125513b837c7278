import type { KeyObject } from 'node:crypto';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { DkimKey } from './dkimKeys.ts';
import type { ImapSettings } from './imapUrl.ts';
import type { SmtpRelay } from './smtpUrl.ts';
import { allVariables, docsOf, embeddedVariables, serviceVariables } from './variables.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What the API and the worker run with. */
export interface Config {
  readonly database: {
    readonly url: string;
    /** Connections of one process. */
    readonly poolSize: number;
  };
  readonly temporal: {
    /** `host:port` of the frontend. */
    readonly address: string;
    readonly namespace: string;
    /** Beginning of links into the UI, without a slash at the end; null: no links. */
    readonly uiUrl: string | null;
  };
  readonly api: {
    readonly host: string;
    readonly port: number;
    /** Largest file that an import takes, in bytes. */
    readonly maxImportBytes: number;
  };
  readonly smtp: {
    /** null: mail is delivered directly, see `direct`. */
    readonly relay: SmtpRelay | null;
    /** To the relay. */
    readonly maxConnections: number;
    readonly messagesPerConnection: number;
    /** Seconds. */
    readonly idleSeconds: number;
    /** Argument of EHLO. */
    readonly ehloName: string;
    /** The provider behind the smart host, whose events are to name the send. */
    readonly provider: 'sendgrid' | 'mailgun' | 'postmark' | null;
  };
  /** Delivery to the recipients' own mail servers; null: it goes through the relay. */
  readonly direct: {
    /** To all destinations together. */
    readonly maxConnections: number;
    readonly perDestination: { readonly connections: number; readonly messagesPerMinute: number };
    readonly tls: 'opportunistic' | 'encrypted' | 'verified';
    /** The preferred one first. */
    readonly ipVersions: readonly (4 | 6)[];
    readonly port: number;
    readonly allowPrivateAddresses: boolean;
  } | null;
  /** `address` or `address:port`; null: those of the machine. */
  readonly dnsServers: readonly string[] | null;
  readonly dkimKeys: readonly DkimKey[];
  /** Right side of every Message-ID. */
  readonly messageIdDomain: string;
  /** Key of the address hashes, at least 32 bytes. */
  readonly addressKey: Uint8Array;
  /** Domain of signed return addresses; null: there are none. */
  readonly returnDomain: string | null;
  /** Keys of signed tokens, at least 32 bytes each: the first one signs, all are accepted. */
  readonly tokenKeys: readonly Uint8Array[];
  /** Beginning of links for recipients, without a slash at the end. */
  readonly publicUrl: string;
  /** Address that people unsubscribe at by mail; null: there is none. */
  readonly unsubscribeMailbox: string | null;
  /** Ways in for what comes back; `null` for those that are not used. */
  readonly inbound: {
    readonly listener: {
      readonly host: string;
      readonly port: number;
      /** Paths of the files in PEM. */
      readonly tls: { readonly certificate: string; readonly key: string } | null;
    } | null;
    readonly abuseMailbox: string | null;
    readonly imap:
      | (ImapSettings & { readonly doneMailbox: string | null; readonly pollSeconds: number })
      | null;
    readonly webhooks: {
      readonly sesTopicArns: readonly string[] | null;
      readonly sendGridKey: KeyObject | null;
      readonly mailgunSigningKey: string | null;
      /** `user:password`. */
      readonly postmarkCredentials: string | null;
    };
  };
  /** The org that is synced with; null: there is none. */
  readonly salesforce: {
    readonly loginUrl: string;
    readonly clientId: string;
    readonly credentials:
      | { readonly flow: 'client_credentials'; readonly clientSecret: string }
      | {
          readonly flow: 'jwt_bearer';
          readonly privateKey: KeyObject;
          readonly username: string;
          readonly audience: string;
        };
    readonly apiVersion: string;
    readonly reservePercent: number;
    readonly changesSeconds: number;
    /** UTC. */
    readonly fullAt: { readonly hour: number; readonly minute: number };
  } | null;
  /** Absolute folder of what is made once and kept: the bundled workflows. */
  readonly cacheDir: string;
  readonly logLevel: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace';
}

/** What the services that Heed starts for itself run with (`npm start`, tests, benchmarks). */
export interface EmbeddedConfig {
  /** Absolute. */
  readonly dataDir: string;
  readonly ports: {
    readonly postgres: number;
    readonly temporal: number;
    readonly temporalUi: number;
    readonly simulatorSmtp: number;
    readonly simulatorHttp: number;
    /** null: no Salesforce is simulated. */
    readonly salesforceSimulator: number | null;
  };
  readonly temporalBinary: string | null;
  readonly testServerBinary: string | null;
  /** Absolute folder of downloaded and built programs. */
  readonly cacheDir: string;
  readonly path: string;
  /** What is configured, so that it need not be started; null where it is not. */
  readonly configured: {
    readonly databaseUrl: string | null;
    readonly temporalAddress: string | null;
    readonly temporalUiUrl: string | null;
    /** How mail leaves; null: to the mailbox simulator. */
    readonly delivery: 'relay' | 'direct' | null;
    readonly messageIdDomain: string | null;
    readonly addressKey: string | null;
    readonly tokenKeys: string | null;
    readonly publicUrl: string | null;
  };
  readonly temporalNamespace: string;
  readonly api: { readonly host: string; readonly port: number };
}

/** A setting that is missing or wrong. The message has one line a setting, each beginning with its name. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/**
 * Settings of the API and the worker.
 * @throws ConfigError naming every variable that is missing or wrong.
 */
export function loadConfig(env: Environment = process.env): Config {
  const { XDG_CACHE_HOME } = embeddedVariables;
  const value = read({ ...serviceVariables, ...smtpUrlVariable(env), XDG_CACHE_HOME }, env);
  return {
    database: { url: value.HEED_DATABASE_URL, poolSize: value.HEED_DATABASE_POOL_SIZE },
    temporal: {
      address: value.HEED_TEMPORAL_ADDRESS,
      namespace: value.HEED_TEMPORAL_NAMESPACE,
      uiUrl: value.HEED_TEMPORAL_UI_URL?.replace(/\/+$/, '') ?? null,
    },
    api: {
      host: value.HEED_API_HOST,
      port: value.HEED_API_PORT,
      maxImportBytes: value.HEED_IMPORT_MAX_MEGABYTES * 1024 * 1024,
    },
    ...sendingOf(value),
    addressKey: value.HEED_ADDRESS_KEY,
    tokenKeys: value.HEED_TOKEN_KEYS,
    publicUrl: value.HEED_PUBLIC_URL.replace(/\/+$/, ''),
    unsubscribeMailbox: value.HEED_UNSUBSCRIBE_MAILBOX ?? null,
    inbound: {
      listener: listenerOf(value),
      abuseMailbox: value.HEED_ABUSE_MAILBOX ?? null,
      imap:
        value.HEED_IMAP_URL === undefined
          ? null
          : {
              ...value.HEED_IMAP_URL,
              doneMailbox: value.HEED_IMAP_DONE_MAILBOX ?? null,
              pollSeconds: value.HEED_IMAP_POLL_SECONDS,
            },
      webhooks: {
        sesTopicArns: value.HEED_SES_TOPIC_ARNS ?? null,
        sendGridKey: value.HEED_SENDGRID_PUBLIC_KEY ?? null,
        mailgunSigningKey: value.HEED_MAILGUN_SIGNING_KEY ?? null,
        postmarkCredentials: value.HEED_POSTMARK_CREDENTIALS ?? null,
      },
    },
    salesforce: salesforceOf(value),
    cacheDir: cacheDirOf(value),
    logLevel: value.HEED_LOG_LEVEL,
  };
}

/** How mail leaves and who it says it is from: all that a check of a sending set-up looks at. */
export interface SendingConfig
  extends Pick<Config, 'smtp' | 'direct' | 'dnsServers' | 'dkimKeys' | 'messageIdDomain' | 'returnDomain'> {
  readonly listener: Config['inbound']['listener'];
  readonly tokenKeys: Config['tokenKeys'] | null;
}

const SENDING = z.object(serviceVariables).pick({
  HEED_DELIVERY: true,
  HEED_SMTP_URL: true,
  HEED_SMTP_PROVIDER: true,
  HEED_SMTP_MAX_CONNECTIONS: true,
  HEED_SMTP_MESSAGES_PER_CONNECTION: true,
  HEED_SMTP_IDLE_SECONDS: true,
  HEED_DIRECT_MAX_CONNECTIONS: true,
  HEED_DIRECT_CONNECTIONS: true,
  HEED_DIRECT_MESSAGES_PER_MINUTE: true,
  HEED_DIRECT_TLS: true,
  HEED_DIRECT_IP_VERSIONS: true,
  HEED_DIRECT_PORT: true,
  HEED_DIRECT_PRIVATE_ADDRESSES: true,
  HEED_DNS_SERVERS: true,
  HEED_DKIM_KEYS: true,
  HEED_EHLO_NAME: true,
  HEED_MESSAGE_ID_DOMAIN: true,
  HEED_RETURN_DOMAIN: true,
  HEED_INBOUND_PORT: true,
  HEED_INBOUND_HOST: true,
  HEED_INBOUND_CERTIFICATE: true,
  HEED_INBOUND_KEY: true,
}).shape;

/**
 * What of the settings a check of the sending set-up needs; databases and servers need not be configured.
 * @throws ConfigError naming every variable that is missing or wrong.
 */
export function loadSendingConfig(env: Environment = process.env): SendingConfig {
  const tokenKeys = { HEED_TOKEN_KEYS: serviceVariables.HEED_TOKEN_KEYS.optional() };
  const value = read({ ...SENDING, ...tokenKeys, ...smtpUrlVariable(env) }, env);
  return { ...sendingOf(value), listener: listenerOf(value), tokenKeys: value.HEED_TOKEN_KEYS ?? null };
}

/** Direct delivery needs no smart host. */
function smtpUrlVariable(env: Environment) {
  const { HEED_SMTP_URL } = serviceVariables;
  const isDirect = env.HEED_DELIVERY?.trim() === 'direct';
  return { HEED_SMTP_URL: isDirect ? HEED_SMTP_URL.optional() : HEED_SMTP_URL };
}

type SendingValues = Omit<z.output<z.ZodObject<typeof SENDING>>, 'HEED_SMTP_URL'> & {
  readonly HEED_SMTP_URL?: SmtpRelay | undefined;
};

function sendingOf(value: SendingValues): Omit<SendingConfig, 'listener' | 'tokenKeys'> {
  return {
    smtp: {
      relay: (value.HEED_DELIVERY === 'relay' && value.HEED_SMTP_URL) || null,
      maxConnections: value.HEED_SMTP_MAX_CONNECTIONS,
      messagesPerConnection: value.HEED_SMTP_MESSAGES_PER_CONNECTION,
      idleSeconds: value.HEED_SMTP_IDLE_SECONDS,
      ehloName: value.HEED_EHLO_NAME,
      provider: value.HEED_SMTP_PROVIDER ?? null,
    },
    direct:
      value.HEED_DELIVERY === 'direct'
        ? {
            maxConnections: value.HEED_DIRECT_MAX_CONNECTIONS,
            perDestination: {
              connections: value.HEED_DIRECT_CONNECTIONS,
              messagesPerMinute: value.HEED_DIRECT_MESSAGES_PER_MINUTE,
            },
            tls: value.HEED_DIRECT_TLS,
            ipVersions: value.HEED_DIRECT_IP_VERSIONS,
            port: value.HEED_DIRECT_PORT,
            allowPrivateAddresses: value.HEED_DIRECT_PRIVATE_ADDRESSES === 'allow',
          }
        : null,
    dnsServers: value.HEED_DNS_SERVERS ?? null,
    dkimKeys: value.HEED_DKIM_KEYS ?? [],
    messageIdDomain: value.HEED_MESSAGE_ID_DOMAIN,
    returnDomain: value.HEED_RETURN_DOMAIN?.toLowerCase() ?? null,
  };
}

function listenerOf(value: SendingValues): Config['inbound']['listener'] {
  const { HEED_INBOUND_HOST: host, HEED_INBOUND_PORT: port } = value;
  return port === undefined ? null : { host, port, tls: tlsOf(value) };
}

/**
 * Settings of the embedded services. Every variable of the services that is set is checked here too, so that a wrong
 * one stops `npm start` before anything has been started.
 * @throws ConfigError naming every variable that is wrong.
 */
export function loadEmbeddedConfig(env: Environment = process.env): EmbeddedConfig {
  const { HEED_TEMPORAL_NAMESPACE, HEED_API_HOST, HEED_API_PORT } = serviceVariables;
  const value = read(
    {
      ...z.object(serviceVariables).partial().shape,
      ...{ HEED_TEMPORAL_NAMESPACE, HEED_API_HOST, HEED_API_PORT },
      ...embeddedVariables,
    },
    env,
  );
  const raw = (name: keyof typeof serviceVariables) => nonEmpty(env[name]) ?? null;
  return {
    dataDir: resolve(value.HEED_DATA_DIR),
    ports: {
      postgres: value.HEED_POSTGRES_PORT,
      temporal: value.HEED_TEMPORAL_PORT,
      temporalUi: value.HEED_TEMPORAL_UI_PORT,
      simulatorSmtp: value.HEED_SIMULATOR_SMTP_PORT,
      simulatorHttp: value.HEED_SIMULATOR_HTTP_PORT,
      salesforceSimulator:
        value.HEED_SALESFORCE_LOGIN_URL === undefined ? (value.HEED_SALESFORCE_SIMULATOR_PORT ?? null) : null,
    },
    temporalBinary: value.HEED_TEMPORAL_BINARY ?? null,
    testServerBinary: value.HEED_TEST_SERVER_BINARY ?? null,
    cacheDir: cacheDirOf(value),
    path: value.PATH,
    configured: {
      databaseUrl: raw('HEED_DATABASE_URL'),
      temporalAddress: raw('HEED_TEMPORAL_ADDRESS'),
      temporalUiUrl: raw('HEED_TEMPORAL_UI_URL'),
      delivery: value.HEED_DELIVERY === 'direct' ? 'direct' : raw('HEED_SMTP_URL') === null ? null : 'relay',
      messageIdDomain: raw('HEED_MESSAGE_ID_DOMAIN'),
      addressKey: raw('HEED_ADDRESS_KEY'),
      tokenKeys: raw('HEED_TOKEN_KEYS'),
      publicUrl: raw('HEED_PUBLIC_URL'),
    },
    temporalNamespace: value.HEED_TEMPORAL_NAMESPACE,
    api: { host: value.HEED_API_HOST, port: value.HEED_API_PORT },
  };
}

function cacheDirOf({ XDG_CACHE_HOME }: { readonly XDG_CACHE_HOME?: string | undefined }): string {
  return join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'heed');
}

/** Runs `load`; a wrong setting ends the process with its message and status 78 (sysexits.h, EX_CONFIG). */
export function configOrExit<T>(load: () => T): T {
  try {
    return load();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(78);
  }
}

/** The environment of a child process: this process's own, changed by `changes`. */
export function childEnvironment(changes: Environment): NodeJS.ProcessEnv {
  return { ...process.env, ...changes };
}

type SalesforceValues = Pick<
  z.output<z.ZodObject<typeof serviceVariables>>,
  Extract<keyof typeof serviceVariables, `HEED_SALESFORCE_${string}`>
>;

function salesforceOf(value: SalesforceValues): Config['salesforce'] {
  const loginUrl = value.HEED_SALESFORCE_LOGIN_URL?.replace(/\/+$/, '');
  if (loginUrl === undefined) return null;
  const clientId = value.HEED_SALESFORCE_CLIENT_ID;
  if (clientId === undefined) {
    throw new ConfigError('HEED_SALESFORCE_CLIENT_ID: is required with HEED_SALESFORCE_LOGIN_URL.');
  }
  return {
    loginUrl,
    clientId,
    credentials: salesforceCredentialsOf(value, loginUrl),
    apiVersion: value.HEED_SALESFORCE_API_VERSION,
    reservePercent: value.HEED_SALESFORCE_API_RESERVE,
    changesSeconds: value.HEED_SALESFORCE_CHANGES_SECONDS,
    fullAt: value.HEED_SALESFORCE_FULL_AT,
  };
}

function salesforceCredentialsOf(
  value: SalesforceValues,
  loginUrl: string,
): NonNullable<Config['salesforce']>['credentials'] {
  const { HEED_SALESFORCE_PRIVATE_KEY: privateKey, HEED_SALESFORCE_CLIENT_SECRET: clientSecret } = value;
  if (privateKey !== undefined) {
    const username = value.HEED_SALESFORCE_USERNAME;
    if (username === undefined) {
      throw new ConfigError('HEED_SALESFORCE_USERNAME: is required with HEED_SALESFORCE_PRIVATE_KEY.');
    }
    const audience = value.HEED_SALESFORCE_AUDIENCE?.replace(/\/+$/, '') ?? loginUrl;
    return { flow: 'jwt_bearer', privateKey, username, audience };
  }
  if (clientSecret === undefined) {
    throw new ConfigError(
      'HEED_SALESFORCE_CLIENT_SECRET: is required with HEED_SALESFORCE_LOGIN_URL, unless HEED_SALESFORCE_PRIVATE_KEY is set.',
    );
  }
  return { flow: 'client_credentials', clientSecret };
}

function tlsOf(value: {
  readonly HEED_INBOUND_CERTIFICATE?: string | undefined;
  readonly HEED_INBOUND_KEY?: string | undefined;
}): { certificate: string; key: string } | null {
  const { HEED_INBOUND_CERTIFICATE: certificate, HEED_INBOUND_KEY: key } = value;
  if (certificate === undefined && key === undefined) return null;
  if (certificate === undefined || key === undefined) {
    throw new ConfigError(
      'HEED_INBOUND_CERTIFICATE and HEED_INBOUND_KEY: one of them is set without the other.',
    );
  }
  return { certificate, key };
}

function read<S extends z.ZodRawShape>(shape: S, env: Environment): z.output<z.ZodObject<S>> {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => nonEmpty(value) !== undefined));
  const lines = Object.keys(set)
    .filter((name) => name.startsWith('HEED_') && !(name in allVariables))
    .map((name) => `${name}: there is no such setting; docs/configuration.md lists those that there are`);
  const result = z.object(shape).safeParse(set);
  if (!result.success) lines.push(...result.error.issues.map((issue) => lineOf(issue, set)));
  if (lines.length > 0) throw new ConfigError(lines.join('\n'));
  return result.data as z.output<z.ZodObject<S>>;
}

function lineOf(issue: z.core.$ZodIssue, set: Environment): string {
  const name = String(issue.path[0]);
  const { meaning, secret } = docsOf(allVariables[name]!);
  const value = set[name];
  if (value === undefined) return `${name}: is required and not set. ${meaning}`;
  return `${name}: ${issue.message}${secret ? '' : `, not ${JSON.stringify(value)}`}`;
}

/** A variable that is set to nothing counts as not set: compose files pass on what is unset as an empty text. */
function nonEmpty(value: string | undefined): string | undefined {
  return value === undefined || value.trim() === '' ? undefined : value;
}
