import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../../config/config.ts';
import { freePort } from '../embedded/service.ts';

/** A Heed of the demo's own, on free ports and with data that the next demo throws away. */
export interface DemoHeed {
  readonly api: string;
  readonly key: string;
  readonly temporalUi: string;
  readonly inbox: string;
  stop(): Promise<void>;
}

/** @param say is told what `npm start` says while it starts */
export async function startHeed(dataDir: string, say: (line: string) => void): Promise<DemoHeed> {
  rmSync(dataDir, { recursive: true, force: true });
  const [api, postgres, temporal, ui, smtp, inbox] = await Promise.all(Array.from({ length: 6 }, freePort));
  const child = spawn(process.execPath, [fileURLToPath(new URL('../launcher/main.ts', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // Not in this terminal's group: Ctrl-C reaches the demo, which stops it in order.
    detached: true,
    env: childEnvironment({
      HEED_DATA_DIR: dataDir,
      HEED_API_PORT: String(api),
      HEED_POSTGRES_PORT: String(postgres),
      HEED_TEMPORAL_PORT: String(temporal),
      HEED_TEMPORAL_UI_PORT: String(ui),
      HEED_SIMULATOR_SMTP_PORT: String(smtp),
      HEED_SIMULATOR_HTTP_PORT: String(inbox),
    }),
  });
  const key = await firstKey(child, say);
  return {
    api: `http://127.0.0.1:${api}`,
    key,
    temporalUi: `http://127.0.0.1:${ui}`,
    inbox: `http://127.0.0.1:${inbox}/`,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

async function firstKey(child: ChildProcess, say: (line: string) => void): Promise<string> {
  let key = '';
  for await (const line of createInterface(child.stdout!)) {
    key = /\bheed_[\w-]{43}\b/.exec(line)?.[0] ?? key;
    if (line.startsWith('Heed is ready')) {
      child.stdout!.resume();
      return key;
    }
    if (line.trim() !== '' && !line.includes('heed_')) say(line);
  }
  throw new Error('Heed did not start; what it said stands above');
}
