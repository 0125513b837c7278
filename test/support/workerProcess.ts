import { type HeedProcess, startProcess } from './childProcess.ts';

/** What the worker and the API are connected to. */
export interface ProcessSettings {
  readonly databaseUrl: string;
  readonly temporal: { readonly address: string; readonly namespace: string };
  readonly smtpPort: number;
  /** Key of the address hashes; the same for everybody who uses the database. */
  readonly addressKey: Uint8Array;
  /** What it says EHLO with, by which a mail server tells workers apart. */
  readonly ehloName?: string;
}

/** The variables of config/variables.ts that a worker or an API process needs. */
export function environmentOf(settings: ProcessSettings): Record<string, string> {
  return {
    HEED_DATABASE_URL: settings.databaseUrl,
    HEED_TEMPORAL_ADDRESS: settings.temporal.address,
    HEED_TEMPORAL_NAMESPACE: settings.temporal.namespace,
    HEED_SMTP_URL: `smtp://127.0.0.1:${settings.smtpPort}?tls=none`,
    HEED_MESSAGE_ID_DOMAIN: 'heed.test',
    HEED_ADDRESS_KEY: Buffer.from(settings.addressKey).toString('base64'),
    HEED_TOKEN_KEYS: Buffer.alloc(32, 3).toString('base64'),
    HEED_PUBLIC_URL: 'https://heed.test',
    HEED_EHLO_NAME: settings.ehloName ?? 'heed.test',
    HEED_LOG_LEVEL: 'warn',
  };
}

/**
 * Starts `worker/main.ts` and waits until it takes work.
 *
 * @param more further variables of config/variables.ts
 */
export function startWorkerProcess(
  settings: ProcessSettings,
  more: Readonly<Record<string, string>> = {},
): Promise<HeedProcess> {
  return startProcess('worker/main.ts', { ...environmentOf(settings), ...more }, (output) =>
    output.includes('HEED_WORKER_READY'),
  );
}
