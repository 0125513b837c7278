import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { messagesOf } from '../../../domain/bounce/message/mbox.ts';
import { readBounce } from '../../../domain/bounce/message/readBounce.ts';
import type { BounceReport } from '../../../domain/bounce/message/report.ts';

/** Real bounces with known answers, kept beside the repository; measured where they are present. */
const CORPUS = join(import.meta.dirname, '../../../../shared/bounce-corpus');
const present = existsSync(join(CORPUS, 'labels.jsonl'));
if (!present) {
  console.warn(`Skipped: there is no bounce corpus at ${CORPUS} to measure the reading of messages on.`);
}

interface Label {
  readonly file: string;
  readonly n: number;
  readonly agent: string;
  readonly kind: BounceReport['kind'];
  readonly reason: string;
}

interface Answer {
  readonly label: Label;
  readonly report: BounceReport | undefined;
  /** How many recipients were read, and how many the labels have. */
  readonly read: number;
  readonly labelled: number;
}

async function answers(): Promise<Answer[]> {
  const labels = readFileSync(join(CORPUS, 'labels.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Label);
  const all: Answer[] = [];
  for (const file of new Set(labels.map((label) => label.file))) {
    const own = labels.filter((label) => label.file === file);
    const reports: BounceReport[] = [];
    for (const message of messagesOf(readFileSync(join(CORPUS, 'eml', file)))) {
      reports.push(...(await readBounce(message)));
    }
    for (const label of own) {
      all.push({ label, report: reports[label.n - 1], read: reports.length, labelled: own.length });
    }
  }
  return all;
}

const told = ({ label, report }: Answer) =>
  `${label.file} #${label.n}: ${label.kind} (${label.reason}) read as ${report?.kind} [${report?.rule}] ${report?.diagnostic?.slice(0, 160)}`;

describe.skipIf(!present)('the messages of the bounce corpus', () => {
  let all: Answer[] = [];
  beforeAll(async () => {
    all = await answers();
  });

  it('of what is called hard at least 99% is, and at least 97% of what is hard is found', () => {
    const hard = all.filter(({ label }) => label.kind === 'hard');
    const called = all.filter(({ report }) => report?.kind === 'hard');
    const both = called.filter(({ label }) => label.kind === 'hard');
    const figures = {
      recipients: all.length,
      hard: hard.length,
      precision: both.length / called.length,
      recall: both.length / hard.length,
    };
    const wrong = all.filter(({ label, report }) => (label.kind === 'hard') !== (report?.kind === 'hard'));
    console.info(figures, wrong.map(told));
    expect(figures.precision).toBeGreaterThanOrEqual(0.99);
    expect(figures.recall).toBeGreaterThanOrEqual(0.97);
  });

  it('nothing that is no bounce is called one', () => {
    const none = all.filter(({ label }) => label.kind === 'none');
    expect(none.length).toBeGreaterThan(0);
    expect(none.filter(({ report }) => report?.kind !== 'none').map(told)).toEqual([]);
  });

  it('what was not delivered is a bounce, or a notice that it is still being tried', () => {
    const missed = all.filter(
      ({ label, report }) =>
        label.kind !== 'none' &&
        report?.kind !== 'hard' &&
        report?.kind !== 'soft' &&
        report?.source !== 'delay',
    );
    console.info(`${missed.length} of ${all.length} not understood`, missed.map(told));
    expect(missed.length / all.length).toBeLessThanOrEqual(0.01);
  });

  it('finds as many recipients as there are, and the address of each bounce', () => {
    const misaligned = all.filter(({ read, labelled }) => read !== labelled);
    expect(misaligned.length / all.length).toBeLessThanOrEqual(0.01);
    const nameless = all.filter(({ report }) => report?.source === 'dsn' && report.recipient === null);
    expect(nameless.map(told)).toEqual([]);
  });
});
