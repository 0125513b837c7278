import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { SetUpError } from '../embedded/service.ts';

const Secrets = z.object({
  /** Base64. */
  addressKey: z.string(),
  /** Base64; absent in folders that were made before there were tokens. */
  tokenKey: z.string().optional(),
  /** Of the superuser of the embedded PostgreSQL. */
  postgresPassword: z.string(),
});

export type Secrets = Required<z.infer<typeof Secrets>>;

/**
 * Keys of this data folder, made at the first start and readable by its owner alone.
 * @param databaseExists whether there is data already that was made with such keys
 */
export function loadSecrets(dataDir: string, databaseExists: boolean): Secrets {
  const file = join(dataDir, 'secrets.json');
  if (!existsSync(file)) {
    if (databaseExists) {
      throw new SetUpError(
        `${file} is missing, and the database beside it was made with the keys in it. Put the file back, or set HEED_DATA_DIR to an empty folder to start anew.`,
      );
    }
    const made: Secrets = {
      addressKey: newKey(),
      tokenKey: newKey(),
      postgresPassword: randomBytes(24).toString('base64url'),
    };
    write(file, made, 'wx');
    return made;
  }
  const kept = read(file);
  if (kept.tokenKey !== undefined) return { ...kept, tokenKey: kept.tokenKey };
  const completed = { ...kept, tokenKey: newKey() };
  write(file, completed, 'w');
  return completed;
}

function read(file: string): z.infer<typeof Secrets> {
  try {
    return Secrets.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    throw new SetUpError(`${file} cannot be read as the keys of this data folder. Put its last backup back.`);
  }
}

function write(file: string, secrets: Secrets, flag: 'w' | 'wx'): void {
  writeFileSync(file, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600, flag });
}

function newKey(): string {
  return randomBytes(32).toString('base64');
}
