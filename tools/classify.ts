// Tells what bounce messages and SMTP replies mean: `npm run -s classify -- FILE...` and
// `npm run -s classify -- --reply TEXT`. One JSON line a recipient on standard output. Needs no service.
// Ends with 0, with 1 where a file could not be read (the others are told all the same), with 2 for wrong arguments.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { classifyReply } from '../domain/bounce/classifyReply.ts';
import { messagesOf } from '../domain/bounce/message/mbox.ts';
import { readBounce } from '../domain/bounce/message/readBounce.ts';
import type { BounceReport } from '../domain/bounce/message/report.ts';
import { parseReplyText } from '../domain/bounce/replyText.ts';

const USAGE = 'Usage: npm run -s classify -- FILE...    or    npm run -s classify -- --reply "TEXT"';

interface Line extends Pick<BounceReport, 'n' | 'recipient' | 'kind' | 'category' | 'status' | 'rule'> {
  readonly file: string | null;
  /** Reply code as it is written. */
  readonly reply: string | null;
}

function print({ file, n, recipient, kind, category, status, reply, rule }: Line): void {
  process.stdout.write(`${JSON.stringify({ file, n, recipient, kind, category, status, reply, rule })}\n`);
}

async function classifyFile(file: string): Promise<void> {
  let n = 0;
  for (const message of messagesOf(readFileSync(file))) {
    for (const report of await readBounce(message)) {
      n++;
      print({ ...report, file, n, reply: report.reply === null ? null : String(report.reply) });
    }
  }
}

/** A reply by itself is taken for one to RCPT TO, where nearly all refusals are given, unless it says otherwise. */
function classifyText(text: string): void {
  const reply = parseReplyText(text);
  const line = {
    file: null,
    n: 1,
    recipient: null,
    status: reply.enhancedCode,
    reply: reply.code === 0 ? null : String(reply.code),
  };
  if (/^\s*[23]\d\d(?:[ -]|$)/.test(text)) {
    print({ ...line, kind: 'none', category: null, rule: 'accepted' });
    return;
  }
  const verdict = classifyReply({ reply, phase: 'rcpt', speaker: 'exchanger' });
  print({
    ...line,
    kind: verdict.action === 'hard' ? 'hard' : 'soft',
    category: verdict.category,
    rule: verdict.rule,
  });
}

function wrongArguments(message: string): never {
  process.stderr.write(`${message}\n${USAGE}\n`);
  process.exit(2);
}

function readArguments() {
  try {
    return parseArgs({ options: { reply: { type: 'string', multiple: true } }, allowPositionals: true });
  } catch (error) {
    return wrongArguments(error instanceof Error ? error.message : String(error));
  }
}

const { values, positionals } = readArguments();
const replies = values.reply ?? [];
if (replies.length === 0 && positionals.length === 0) wrongArguments('No file and no reply was given.');
for (const text of replies) classifyText(text);
for (const file of positionals) {
  try {
    await classifyFile(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${file} could not be read: ${reason}\n`);
    process.exitCode = 1;
  }
}
