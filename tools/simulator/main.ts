/**
 * The mailbox simulator as a process: `node tools/simulator/main.ts [--smtp-port N] [--http-port N] [--log FILE]`.
 * Prints one line of JSON with its addresses when it is ready.
 */
import { parseArgs } from 'node:util';
import { startSimulator } from './simulator.ts';

const { values } = parseArgs({
  options: { 'smtp-port': { type: 'string' }, 'http-port': { type: 'string' }, log: { type: 'string' } },
});
const simulator = await startSimulator({
  smtpPort: Number(values['smtp-port'] ?? 2525),
  httpPort: Number(values['http-port'] ?? 8025),
  ...(values.log === undefined ? {} : { logFile: values.log }),
});
console.log(JSON.stringify({ smtpUrl: simulator.smtpUrl, inboxUrl: simulator.inboxUrl }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void simulator.close());
