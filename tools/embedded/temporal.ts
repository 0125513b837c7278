import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Connection } from '@temporalio/client';
import { ensureNamespace } from '../../adapters/temporal/namespace.ts';
import type { EmbeddedConfig } from '../../config/config.ts';
import { ensureProgram, runBuild } from './executables.ts';
import { freePort, type Progress, startService, waitUntilHealthy } from './service.ts';

/** As in tools/temporal-build/go.mod. */
const VERSION = '1.8.2';
const buildFolder = fileURLToPath(new URL('../temporal-build/', import.meta.url));
const START_TIMEOUT_MS = 60_000;

/** Path of the Temporal CLI, which holds the dev server and its UI. */
export function ensureTemporal(config: EmbeddedConfig, progress: Progress): Promise<string> {
  return ensureProgram(
    {
      name: 'temporal',
      version: VERSION,
      setting: 'HEED_TEMPORAL_BINARY',
      configured: config.temporalBinary,
      sdkServer: 'dev-server',
      build: buildWithGo,
    },
    config,
    progress,
  );
}

async function buildWithGo(into: string, progress: Progress): Promise<void> {
  progress(`Building temporal ${VERSION} with Go, which takes 3 to 5 minutes and happens once`);
  for (const file of ['go.mod', 'go.sum', 'tools.go'])
    copyFileSync(join(buildFolder, file), join(into, file));
  await runBuild(
    'Building temporal',
    [
      'go',
      'build',
      '-mod=readonly',
      '-trimpath',
      '-ldflags=-s -w',
      '-o',
      'temporal',
      'github.com/temporalio/cli/cmd/temporal',
    ],
    {
      cwd: into,
      env: { CGO_ENABLED: '0' },
      missing:
        'The Temporal server cannot be downloaded from here, and Go is missing. Install Go 1.26, or set ' +
        'HEED_TEMPORAL_BINARY to a Temporal CLI, or HEED_TEMPORAL_ADDRESS to a Temporal server of yours.',
    },
    progress,
  );
}

/** Temporal's dev server, started for this process and ended with it. */
export interface TemporalServer {
  /** `host:port` of the frontend. */
  readonly address: string;
  /** Null when it was started without its UI. */
  readonly uiUrl: string | null;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface TemporalOptions {
  /** From ensureTemporal. */
  readonly binary: string;
  readonly namespace: string;
  readonly logFile: string;
  /** A free one when left out. */
  readonly port?: number;
  /** Port of the UI; no UI when left out. */
  readonly uiPort?: number;
  /** SQLite file that keeps the state; in memory when left out. */
  readonly dbFile?: string;
  /** Settings of the server's own, by their names there. */
  readonly dynamicConfig?: Readonly<Record<string, string | number>>;
  /** Deletes the log after the end. */
  readonly temporary?: boolean;
}

/** Starts the dev server and waits until the namespace can be used. */
export async function startTemporal(options: TemporalOptions): Promise<TemporalServer> {
  for (let tries = 1; ; tries += 1) {
    const port = options.port ?? (await freePort());
    const service = await startService({
      command: options.binary,
      args: [
        ...[
          'server',
          'start-dev',
          '--ip',
          '127.0.0.1',
          '--port',
          String(port),
          '--namespace',
          options.namespace,
        ],
        ...['--log-level', 'warn', '--log-format', 'json'],
        ...Object.entries(options.dynamicConfig ?? {}).flatMap(([name, value]) => [
          '--dynamic-config-value',
          `${name}=${value}`,
        ]),
        ...(options.uiPort === undefined
          ? ['--headless']
          : ['--ui-ip', '127.0.0.1', '--ui-port', String(options.uiPort), '--ui-disable-news-fetch']),
        ...(options.dbFile === undefined
          ? []
          : // Twice the throughput of SQLite's defaults, and a killed process still loses nothing.
            [
              '--db-filename',
              options.dbFile,
              '--sqlite-pragma',
              'journal_mode=WAL',
              '--sqlite-pragma',
              'synchronous=NORMAL',
            ]),
      ],
      stopSignal: 'SIGTERM',
      graceMs: 10_000,
      logFile: options.logFile,
      ...(options.temporary ? { deleteAfterwards: [options.logFile] } : {}),
    });
    const address = `127.0.0.1:${port}`;
    try {
      await waitUntilHealthy('The Temporal server', service, START_TIMEOUT_MS, async () => {
        const connection = await Connection.connect({ address, connectTimeout: '2s' });
        try {
          // The dev server makes the namespace with a retention of one day.
          await ensureNamespace(connection, options.namespace);
        } finally {
          await connection.close();
        }
      });
    } catch (error) {
      const log = service.logTail();
      await service.stop();
      // A free port lost to somebody else between the look and the start.
      if (options.port === undefined && tries < 5 && /address already in use/i.test(log)) continue;
      throw error;
    }
    return {
      address,
      uiUrl: options.uiPort === undefined ? null : `http://127.0.0.1:${options.uiPort}`,
      pid: service.pid,
      stop: () => service.stop(),
    };
  }
}
