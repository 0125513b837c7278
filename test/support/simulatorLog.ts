import { existsSync, readFileSync } from 'node:fs';
import type { AttemptRecord } from '../../tools/simulator/mailbox.ts';

/** What a simulator wrote into its log file, over all its lives. */
export function readSimulatorLog(file: string): AttemptRecord[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as AttemptRecord);
}
