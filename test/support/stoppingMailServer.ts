import { type ScriptedPeer, startScriptedSmtp } from './scriptedSmtp.ts';

/**
 * Where a conversation is brought to a stop: with the reply to RCPT TO withheld, with the message half read, or with
 * the message kept and the reply to its final dot withheld.
 */
export type StopPoint = 'rcpt' | 'message' | 'final';

/** A conversation that stops once, at one point. */
export interface Stop {
  /** Resolves when the conversation has come there. */
  readonly reached: Promise<void>;
  /** Lets it go on. A message that was half read is dropped with its connection. */
  release(): void;
}

/** A message that the server has kept, whatever its sender was told. */
export interface KeptMessage {
  readonly recipient: string;
  /** Argument of EHLO: which worker it came from. */
  readonly from: string;
  readonly content: string;
}

/** A mail server in this process whose conversations a test brings to a stop. It accepts everything. */
export interface StoppingMailServer {
  readonly port: number;
  /** Stops the next conversation about this recipient; those after it run through. */
  stop(recipient: string, at: StopPoint): Stop;
  readonly kept: readonly KeptMessage[];
  /** Commands as they came, each behind the EHLO name of its sender: `worker-a RCPT TO:<ada@example.net>`. */
  readonly commands: readonly string[];
  /** How often this recipient was named. */
  triesOf(recipient: string): number;
  close(): Promise<void>;
}

interface Planned extends Stop {
  readonly at: StopPoint;
  reach(): void;
  readonly released: Promise<void>;
}

export async function startStoppingMailServer(): Promise<StoppingMailServer> {
  const planned = new Map<string, Planned>();
  const kept: KeptMessage[] = [];
  const commands: string[] = [];
  const triesOf = (recipient: string) =>
    commands.filter((command) => command.endsWith(`RCPT TO:<${recipient}>`)).length;

  async function converse(peer: ScriptedPeer): Promise<void> {
    let from = '';
    let recipient = '';
    let stop: Planned | undefined;
    const pauseAt = async (at: StopPoint) => {
      if (stop?.at !== at) return false;
      stop.reach();
      await stop.released;
      return true;
    };
    peer.send('220 mail.test ESMTP\r\n');
    for (let line = await peer.line(); line !== null; line = await peer.line()) {
      const [verb] = line.split(' ');
      if (verb === 'EHLO') from = line.slice(5);
      commands.push(`${from} ${line}`);
      switch (verb) {
        case 'EHLO':
          peer.send('250-mail.test\r\n250 ENHANCEDSTATUSCODES\r\n');
          break;
        case 'RCPT':
          recipient = /<(.*)>/.exec(line)![1]!;
          stop = planned.get(recipient);
          planned.delete(recipient);
          await pauseAt('rcpt');
          peer.send('250 2.1.5 ok\r\n');
          break;
        case 'DATA': {
          peer.send('354 go on\r\n');
          if (stop?.at === 'message') {
            await peer.more();
            peer.stopReading();
            await pauseAt('message');
            return peer.destroy();
          }
          const content = await peer.content();
          if (content === null) return;
          kept.push({ recipient, from, content });
          await pauseAt('final');
          peer.send('250 2.0.0 kept\r\n');
          break;
        }
        case 'QUIT':
          peer.send('221 2.0.0 bye\r\n');
          return peer.close();
        default:
          peer.send('250 2.0.0 ok\r\n');
      }
    }
  }

  const server = await startScriptedSmtp(converse);
  return {
    port: server.port,
    kept,
    commands,
    triesOf,
    stop(recipient, at) {
      const reached = Promise.withResolvers<void>();
      const released = Promise.withResolvers<void>();
      const stop: Planned = {
        at,
        reached: reached.promise,
        reach: reached.resolve,
        released: released.promise,
        release: released.resolve,
      };
      planned.set(recipient, stop);
      return stop;
    },
    close: () => server.stop(),
  };
}
