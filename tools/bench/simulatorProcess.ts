import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The mailbox simulator in a process of its own, on free ports. */
export async function startSimulatorProcess(
  options: { logFile?: string; smtpPort?: number } = {},
): Promise<{ smtpPort: number; inboxUrl: string; stop(): Promise<void> }> {
  const child = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('../simulator/main.ts', import.meta.url)),
      '--smtp-port',
      String(options.smtpPort ?? 0),
      '--http-port',
      '0',
      ...(options.logFile === undefined ? [] : ['--log', options.logFile]),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { smtpUrl, inboxUrl } = JSON.parse(line) as { smtpUrl: string; inboxUrl: string };
  return {
    smtpPort: Number(new URL(smtpUrl).port),
    inboxUrl,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}
