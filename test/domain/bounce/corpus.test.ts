import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { classifyReply } from '../../../domain/bounce/classifyReply.ts';
import { parseReplyText } from '../../../domain/bounce/replyText.ts';

/** Real bounces with known answers, kept beside the repository; measured where they are present. */
const CORPUS = join(import.meta.dirname, '../../../../shared/bounce-corpus');
const present = existsSync(join(CORPUS, 'smtp-replies.jsonl'));
if (!present) console.warn(`Skipped: there is no bounce corpus at ${CORPUS} to measure the classifier on.`);

interface Labelled {
  readonly text: string;
  readonly kind: string;
  /** Status field of the report, where it has one. */
  readonly status?: string | undefined;
}

function measure(rows: readonly Labelled[]) {
  const wrong: string[] = [];
  let hard = 0;
  let calledHard = 0;
  let both = 0;
  for (const { text, kind, status } of rows) {
    const read = parseReplyText(text);
    const reply = { ...read, enhancedCode: read.enhancedCode ?? status ?? null };
    const verdict = classifyReply({ reply, phase: null, speaker: 'exchanger' });
    const isHard = kind === 'hard';
    if (isHard) hard++;
    if (verdict.action === 'hard') calledHard++;
    if (isHard && verdict.action === 'hard') both++;
    if (isHard !== (verdict.action === 'hard'))
      wrong.push(`${kind} but ${verdict.action} [${verdict.rule}]: ${text}`);
  }
  const figures = { rows: rows.length, hard, precision: both / calledHard, recall: both / hard };
  console.info(figures, wrong);
  return figures;
}

function lines<T>(file: string): T[] {
  return readFileSync(join(CORPUS, file), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);
}

/** Diagnostic-Code and Status of the n-th recipient in a report (RFC 3464 section 2.3), read as plain text. */
function diagnosticOf(file: string, n: number): { text: string; status: string | undefined } | null {
  const blocks = readFileSync(join(CORPUS, 'eml', file), 'latin1')
    .replaceAll('\r\n', '\n')
    .split(/\n\s*\n/)
    .filter((block) => /^(?:Final-Recipient|Original-Recipient):/im.test(block));
  const block = blocks[n - 1] ?? '';
  const text = /^Diagnostic-Code:\s*(.*(?:\n[ \t].*)*)/im.exec(block)?.[1];
  const status = /^Status:\s*([245]\.\d+\.\d+)/im.exec(block)?.[1];
  return text ? { text, status } : null;
}

describe.skipIf(!present)('the bounce corpus', () => {
  it('of what is called hard at least 99% is, and at least 97% of what is hard is found: SMTP replies', () => {
    const { precision, recall } = measure(lines<Labelled>('smtp-replies.jsonl'));
    expect(precision).toBeGreaterThanOrEqual(0.99);
    expect(recall).toBeGreaterThanOrEqual(0.97);
  });

  it('reads the diagnostic texts of reports about as well', () => {
    // `filtered` is the label of "user unknown" in reply to DATA; a diagnostic text by itself does not tell the stage.
    const rows = lines<{ file: string; n: number; kind: string; reason: string }>('labels.jsonl')
      .filter(({ kind, reason }) => kind !== 'none' && reason !== 'filtered')
      .flatMap(({ file, n, kind }) => {
        const diagnostic = diagnosticOf(file, n);
        return diagnostic ? [{ ...diagnostic, kind }] : [];
      });
    const { precision, recall } = measure(rows);
    expect(precision).toBeGreaterThanOrEqual(0.9);
    expect(recall).toBeGreaterThanOrEqual(0.97);
  });
});
