import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deliveryStatus } from './messageSamples.ts';

const PROGRAM = join(import.meta.dirname, '../../../tools/classify.ts');
let folder = '';
let bounce = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'heed-classify-'));
  bounce = join(folder, 'bounce.eml');
  const about = (address: string, status: string) =>
    `Final-Recipient: rfc822; ${address}\nAction: failed\nStatus: ${status}\nDiagnostic-Code: smtp; 550 ${status} no`;
  writeFileSync(
    bounce,
    deliveryStatus([about('jane@example.net', '5.1.1'), about('joe@example.net', '5.2.2')]),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function classify(...parameters: string[]) {
  const { stdout, stderr, status } = spawnSync(process.execPath, [PROGRAM, ...parameters], {
    encoding: 'utf8',
  });
  const lines = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { lines, stderr, status };
}

describe('npm run classify', () => {
  it('prints one line a recipient of a file', () => {
    const { lines, status } = classify(bounce);
    expect(status).toBe(0);
    expect(lines).toEqual([
      {
        file: bounce,
        n: 1,
        recipient: 'jane@example.net',
        kind: 'hard',
        category: 'user_unknown',
        status: '5.1.1',
        reply: '550',
        rule: 'X.1.1 and its kin',
      },
      expect.objectContaining({
        file: bounce,
        n: 2,
        recipient: 'joe@example.net',
        kind: 'soft',
        status: '5.2.2',
      }),
    ]);
  });

  it('tells what a reply means', () => {
    const { lines, status } = classify(
      '--reply',
      '550 5.1.1 User unknown',
      '--reply',
      '452 4.2.2 Over quota',
    );
    expect(status).toBe(0);
    expect(lines).toEqual([
      expect.objectContaining({ file: null, n: 1, kind: 'hard', category: 'user_unknown', reply: '550' }),
      expect.objectContaining({ file: null, n: 1, kind: 'soft', category: 'mailbox_full', status: '4.2.2' }),
    ]);
  });

  it('names a file that cannot be read, tells the others, and ends with 1', () => {
    const missing = join(folder, 'missing.eml');
    const { lines, stderr, status } = classify(missing, bounce);
    expect(status).toBe(1);
    expect(stderr).toContain(missing);
    expect(lines).toHaveLength(2);
  });

  it.each([[[]], [['--nonsense']]])('ends with 2 and how to use it for wrong arguments: %j', (parameters) => {
    const { lines, stderr, status } = classify(...parameters);
    expect(status).toBe(2);
    expect(stderr).toContain('Usage');
    expect(lines).toEqual([]);
  });
});
