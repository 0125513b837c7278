/**
 * Works through pages of a broadcast, or sends ready-made messages, in a process of its own; prints what that took as
 * JSON. Its only argument is a {@link BroadcastWork} as JSON.
 */
import { createPrivateKey } from 'node:crypto';
import { workThroughPages } from '../../activities/broadcast/pages.ts';
import { clockFrom } from '../../activities/clock.ts';
import { createDkimSigner } from '../../adapters/dkim/signer.ts';
import { createCompiledComposer } from '../../adapters/mailer/compiledComposer.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import type { OutgoingMessage, Transmission } from '../../adapters/mailer/mailer.ts';
import { createSigningComposer } from '../../adapters/mailer/signingComposer.ts';
import { createSmartHostMailer } from '../../adapters/mailer/smartHostMailer.ts';
import { createUnsubscribing } from '../../adapters/mailer/unsubscribing.ts';
import { createUnsubscribeTokens } from '../../adapters/tokens/unsubscribeTokens.ts';
import { openDatabase } from '../../db/connection.ts';

export interface BroadcastWork {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly connections: number;
  /** PEM of the key that signs; empty for none. */
  readonly dkimKey: string;
  /** The broadcast and the lane of this process; or how many ready-made messages are sent instead. */
  readonly task:
    | {
        readonly broadcastId: string;
        readonly lane: number;
        /** Another one, which is sent before and not measured. */
        readonly warmUpId: string | null;
      }
    | { readonly readyMade: number; readonly message: string };
}

const work = JSON.parse(process.argv[2]!) as BroadcastWork;
const mailer = createSmartHostMailer({
  host: work.host,
  port: work.port,
  tls: 'none',
  clientName: 'bench.test',
  maxConnections: work.connections,
  maxMessagesPerConnection: 100_000,
  idleMilliseconds: 30_000,
});

async function sendPages(broadcastId: string, lane: number): Promise<void> {
  const db = openDatabase(work.url, { max: 8 });
  const unsubscribing = createUnsubscribing({
    tokens: createUnsubscribeTokens([Buffer.alloc(32, 7)]),
    publicUrl: 'https://bench.test',
    mailbox: null,
    listDomain: 'bench.test',
  });
  const keys =
    work.dkimKey === ''
      ? []
      : [{ domain: 'example.com', selector: 'bench', privateKey: createPrivateKey(work.dkimKey) }];
  const composer = createSigningComposer(
    createCompiledComposer(createEmailComposer(unsubscribing), unsubscribing),
    {
      returnPath: null,
      dkim: createDkimSigner(keys),
      senderDomain: 'bench.test',
    },
  );
  const parts = { db, mailer, composer, messageIdDomain: 'bench.test', conversations: work.connections };
  for (;;) {
    const end = await workThroughPages(
      { ...parts, clock: clockFrom(Date.now()) },
      { broadcastId, lane, milliseconds: 120_000 },
      new AbortController().signal,
    );
    if (end.kind === 'none') break;
    if (end.kind !== 'more') throw new Error(`the lane ended with ${JSON.stringify(end)}`);
  }
  await db.close();
}

async function sendReadyMade(count: number, text: string): Promise<void> {
  const content = Buffer.from(text, 'latin1');
  let left = count;
  await Promise.all(
    Array.from({ length: work.connections }, async () => {
      const conversation = await mailer.reserve('example.net', new AbortController().signal);
      if (!conversation.ready) throw new Error(conversation.detail);
      await conversation.transmitAll(() => {
        if (left === 0) return null;
        left -= 1;
        const message: OutgoingMessage = {
          from: 'news@example.com',
          to: `person.${left}@example.net`,
          content,
        };
        const ended = (end: Transmission) => {
          if (end.kind !== 'accepted') throw new Error(end.kind);
        };
        return { message, beginBefore: Number.POSITIVE_INFINITY, begun() {}, ended };
      });
      conversation.release();
    }),
  );
}

const { task } = work;
if ('broadcastId' in task && task.warmUpId !== null) await sendPages(task.warmUpId, task.lane);
// The parent says when to begin, so that starting Node is not measured.
console.log('ready');
await new Promise((resolve) => process.stdin.once('data', resolve));
const startedAt = performance.now();
const usedBefore = process.cpuUsage();
if ('broadcastId' in task) await sendPages(task.broadcastId, task.lane);
else await sendReadyMade(task.readyMade, task.message);
const seconds = (performance.now() - startedAt) / 1000;
const { user, system } = process.cpuUsage(usedBefore);
await mailer.close();
process.stdin.destroy();
// The operating system's figure for the whole life of the process, in KiB.
const memoryMB = Math.round(process.resourceUsage().maxRSS / 1024);
console.log(JSON.stringify({ seconds, memoryMB, processorSeconds: (user + system) / 1_000_000 }));
