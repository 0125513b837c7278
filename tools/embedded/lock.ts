import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';

/** A lock that is held until it is released or the process ends, however it ends. */
export interface Lock {
  release(): void;
}

/**
 * Takes the lock of this name (a file) if nobody has it. SQLite's exclusive transaction is a file lock that the system
 * takes back with the process: no lock file can go stale.
 */
export function tryLock(file: string): Lock | null {
  mkdirSync(dirname(file), { recursive: true });
  const database = new DatabaseSync(file);
  try {
    database.exec('BEGIN EXCLUSIVE');
    held.add(database);
    return {
      release() {
        held.delete(database);
        database.close();
      },
    };
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return null;
    throw error;
  }
}

const SQLITE_BUSY = 5;

/** Keeps the garbage collector from closing the file of a lock whose caller only wants to hold it. */
const held = new Set<DatabaseSync>();

/** Waits for the lock; `onWait` is called once when somebody else has it. */
export async function waitForLock(file: string, onWait: () => void): Promise<Lock> {
  let lock = tryLock(file);
  if (lock === null) onWait();
  while (lock === null) {
    await sleep(500);
    lock = tryLock(file);
  }
  return lock;
}
