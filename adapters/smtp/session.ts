import type { SmtpPhase, SmtpReply } from '../../domain/bounce/verdict.ts';
import type {
  OutgoingMessage,
  QueuedMessage,
  Transmission,
  TransmissionHooks,
  Unsendable,
} from '../mailer/mailer.ts';
import { malformedMailbox, needsSmtpUtf8 } from './address.ts';
import { readyContent, type WireContent, wireContent } from './content.ts';
import type { Extensions } from './extensions.ts';
import { quit } from './quit.ts';
import type { ServerReply } from './replyParser.ts';
import type { SmtpTimeouts } from './timeouts.ts';
import type { Received, Wire } from './wire.ts';

/** Content up to this many octets goes out with its final dot in one write. */
const ONE_WRITE_OCTETS = 16_384;

/** Larger content goes out in blocks, each with a deadline of its own (RFC 5321 section 4.5.3.2.5). */
const BLOCK_OCTETS = 65_536;

const GATE_EXPIRED: Transmission = { kind: 'not_begun', why: 'gate_expired' };

type Step =
  | { readonly passed: true; readonly reply: ServerReply }
  | { readonly passed: false; readonly end: Transmission };

interface Prepared {
  readonly envelope: readonly [mail: string | Uint8Array, rcpt: string | Uint8Array];
  readonly content: WireContent;
}

/** A message whose envelope was written, and DATA with it. */
interface Begun {
  readonly queued: QueuedMessage;
  readonly content: WireContent;
  /** Written behind another message's content: the server may have come to it late. */
  readonly wasBehind: boolean;
}

/** An open, greeted and authenticated SMTP connection: message after message until either side ends it. */
export class SmtpSession {
  /** Host name and address of the server. */
  readonly remoteHost: string;
  readonly #wire: Wire;
  readonly #extensions: Extensions;
  readonly #timeouts: SmtpTimeouts;
  #transmitting = false;
  /** A transaction was left open; the server has to forget it before the next one. */
  #unfinished = false;
  /** Replies to pipelined commands that are still to come and of no interest. */
  #owed = 0;
  /** Whether the server answered the last final dot at once. */
  #prompt = false;
  /** Whether an envelope was answered on this connection: whoever follows is not what the server then ends it for. */
  #used = false;

  constructor(wire: Wire, extensions: Extensions, timeouts: SmtpTimeouts, remoteHost: string) {
    this.#wire = wire;
    this.#extensions = extensions;
    this.#timeouts = timeouts;
    this.remoteHost = remoteHost;
  }

  /** Whether another message can be tried: connected, and the server said nothing that it was not asked for. */
  get usable(): boolean {
    return !this.#transmitting && this.#wire.ended === null && (this.#owed > 0 || !this.#wire.hasInput);
  }

  /** Whether {@link reset} has to come before the next message. */
  get unfinished(): boolean {
    return this.#unfinished;
  }

  /** Calls back once when the connection ends, whoever ended it. */
  onEnd(listener: () => void): void {
    this.#wire.onEnd(listener);
  }

  /**
   * One mail transaction (RFC 5321 section 3.3) for one recipient. Commands before the hand-over are pipelined where
   * the server allows it (RFC 2920); DATA waits for `beforeHandOver`, since a server that has said 354 may take an
   * aborted connection for the end of a message.
   */
  async transmit(message: OutgoingMessage, hooks: TransmissionHooks): Promise<Transmission> {
    if (this.#transmitting) throw new Error('An SMTP session carries one message at a time.');
    this.#transmitting = true;
    try {
      return await this.#afterOthers(() => this.#transaction(message, hooks));
    } catch (error) {
      this.destroy('a hook of the transmission failed');
      throw error;
    } finally {
      this.#transmitting = false;
    }
  }

  /** As {@link ReadyConversation.transmitAll} says. */
  async transmitAll(next: () => QueuedMessage | null): Promise<boolean> {
    if (this.#transmitting) throw new Error('An SMTP session carries one message at a time.');
    this.#transmitting = true;
    try {
      if (this.#extensions.pipelining) await this.#pipelineAll(next);
      else await this.#oneByOne(next);
    } catch (error) {
      this.destroy('the owner of a message failed');
      throw error;
    } finally {
      this.#transmitting = false;
    }
    return this.usable;
  }

  /** Makes the server forget an open transaction with RSET. `false`: the session is over. */
  async reset(): Promise<boolean> {
    while (this.#owed > 0 && this.#wire.ended === null) {
      await this.#wire.receive(this.#timeouts.reset);
      this.#owed--;
    }
    if (!(await this.#ask('RSET'))) return false;
    this.#unfinished = false;
    return true;
  }

  /** Asks whether the server is still there, with NOOP. `false`: the session is over. */
  probe(): Promise<boolean> {
    return this.#ask('NOOP');
  }

  /** Ends the session politely; resolves when the connection is gone. */
  quit(): Promise<void> {
    return quit(this.#wire, this.#timeouts.quit);
  }

  /** Drops the connection. */
  destroy(reason: string): void {
    this.#wire.end(reason);
  }

  async #oneByOne(next: () => QueuedMessage | null): Promise<void> {
    while (this.#wire.ended === null && !this.#isOver()) {
      const queued = next();
      if (queued === null) return;
      const hooks: TransmissionHooks = {
        mayBegin() {
          const now = performance.now();
          if (now > queued.beginBefore) return false;
          queued.begun(now);
          return true;
        },
        beforeHandOver: async () => true,
      };
      queued.ended(await this.#afterOthers(() => this.#transaction(queued.message, hooks)));
    }
  }

  /** RFC 2920 section 3.1: DATA ends a group of commands, the content of a message begins one. */
  async #pipelineAll(next: () => QueuedMessage | null): Promise<void> {
    let begun = await this.#begin(next);
    while (begun !== null) {
      const following = await this.#carry(begun, next);
      begun = following ?? (this.#wire.ended === null ? await this.#begin(next) : null);
    }
  }

  /** Writes the envelope of the next message that can be sent. */
  async #begin(next: () => QueuedMessage | null): Promise<Begun | null> {
    if (this.#unfinished) await this.reset();
    if (this.#isOver()) return null;
    const sendable = this.#take(next);
    if (sendable === null) return null;
    const { queued, envelope, content } = sendable;
    const early = this.#spokeEarly('mail');
    if (early !== null) {
      queued.ended(early);
      return null;
    }
    this.#wire.write(...envelope, 'DATA\r\n');
    queued.begun(performance.now());
    return { queued, content, wasBehind: false };
  }

  /** The next message that can be sent; those before it that cannot have ended. */
  #take(next: () => QueuedMessage | null): (Prepared & { readonly queued: QueuedMessage }) | null {
    for (let queued = next(); queued !== null; queued = next()) {
      const prepared = this.#prepare(queued.message);
      if ('kind' in prepared) queued.ended(prepared);
      else if (performance.now() > queued.beginBefore) queued.ended(GATE_EXPIRED);
      else return { ...prepared, queued };
    }
    return null;
  }

  /** From the replies to a message's envelope to its end. @returns the message whose envelope went out behind it */
  async #carry(
    { queued, content, wasBehind }: Begun,
    next: () => QueuedMessage | null,
  ): Promise<Begun | null> {
    this.#unfinished = true;
    if (wasBehind && this.#wire.ended !== null) {
      // Whatever was answered behind the end of the conversation, of this message's content nothing was written.
      const { unread } = this.#wire;
      const reply = unread?.kind === 'reply' && unread.reply.code === 421 ? plain(unread.reply) : null;
      queued.ended({ kind: 'not_begun', why: 'conversation_over', reply });
      return null;
    }
    if (wasBehind) {
      const now = performance.now();
      if (now > queued.beginBefore) {
        // The server has MAIL FROM, and when it came to it nobody knows; of the content it has nothing.
        this.destroy('the server came to a message too late');
        queued.ended(GATE_EXPIRED);
        return null;
      }
      queued.begun(now);
    }
    const refusal = await this.#afterOthers(() => this.#envelopeRefused());
    if (refusal !== null) {
      queued.ended(refusal);
      return null;
    }
    if (content.octets.length > ONE_WRITE_OCTETS) {
      queued.ended(await this.#sendContent(content));
      return null;
    }
    const early = this.#spokeEarly('message');
    if (early !== null) {
      queued.ended(early);
      return null;
    }
    const following = this.#prompt ? this.#take(next) : null;
    this.#wire.write(
      content.octets,
      '.\r\n',
      ...(following === null ? [] : [...following.envelope, 'DATA\r\n']),
    );
    const written = performance.now();
    const final = await this.#expect('final', 2);
    this.#prompt = performance.now() - written < this.#timeouts.prompt;
    queued.ended(final.passed ? { kind: 'accepted', reply: plain(final.reply) } : final.end);
    return following && { queued: following.queued, content: following.content, wasBehind: true };
  }

  /** The server ended a conversation that had carried something: nobody else is taken on for it. */
  #isOver(): boolean {
    return this.#used && this.#spokeEarly('mail') !== null;
  }

  /** The end of the whole conversation is nobody's outcome who came after others in it (RFC 5321 section 3.8). */
  async #afterOthers<End extends Transmission | null>(
    carry: () => Promise<End>,
  ): Promise<End | Transmission> {
    const wasUsed = this.#used;
    const end = await carry();
    if (end?.kind !== 'unsendable' && end?.kind !== 'not_begun') this.#used = true;
    if (!wasUsed || end === null || !('phase' in end) || end.phase !== 'mail') return end;
    const reply = end.kind === 'refused' ? end.reply : null;
    if (reply !== null && reply.code !== 421) return end;
    return { kind: 'not_begun', why: 'conversation_over', reply };
  }

  /** Replies to MAIL, RCPT and DATA that were written together; `null` once the server waits for the content. */
  async #envelopeRefused(): Promise<Transmission | null> {
    const sender = await this.#expect('mail', 2);
    const recipient = await this.#wire.receive(this.#timeouts.rcpt);
    const data = await this.#wire.receive(this.#timeouts.data);
    let refusal: Transmission | null = sender.passed ? null : sender.end;
    refusal ??= this.#unlessPassed('rcpt', recipient, 2);
    const mayHaveContent = data.kind === 'reply' && data.reply.code === 354;
    if (refusal === null) return this.#unlessPassed('data', data, 3);
    if (mayHaveContent && this.#wire.ended === null) {
      // RFC 2920 section 3.1: it waits for content though it has no recipient, and gets none.
      this.#wire.write('.\r\n');
      await this.#wire.receive(this.#timeouts.final);
    }
    return refusal;
  }

  async #transaction(message: OutgoingMessage, hooks: TransmissionHooks): Promise<Transmission> {
    const prepared = this.#prepare(message);
    if ('kind' in prepared) return prepared;
    if (this.#unfinished) await this.reset();
    const early = this.#spokeEarly('mail');
    if (early !== null) return early;
    if (!hooks.mayBegin()) return GATE_EXPIRED;

    const refusal = await this.#sendEnvelope(prepared.envelope);
    if (refusal !== null) return refusal;

    const owned = await this.#askOwner(hooks);
    const meanwhile = this.#spokeEarly('data');
    if (owned === 'no') return { kind: 'not_begun', why: 'ownership_lost' };
    if (owned === 'late') {
      return this.#broken('data', `beforeHandOver gave no answer within ${this.#timeouts.handOver} ms`);
    }
    if (meanwhile !== null) return meanwhile;

    this.#wire.write('DATA\r\n');
    const data = await this.#expect('data', 3);
    if (!data.passed) return data.end;
    return this.#sendContent(prepared.content);
  }

  /** What of RFC 5321 and its extensions can be decided before the server is asked. */
  #prepare(message: OutgoingMessage): Prepared | Transmission {
    const { from, to } = message;
    const malformedFrom = from === '' ? null : malformedMailbox(from);
    if (malformedFrom !== null) return unsendable('address_malformed', 'from', malformedFrom);
    const malformedTo = malformedMailbox(to);
    if (malformedTo !== null) return unsendable('address_malformed', 'to', malformedTo);

    const { smtpUtf8, eightBitMime, size } = this.#extensions;
    const international = needsSmtpUtf8(from) || needsSmtpUtf8(to);
    if (international && !smtpUtf8) {
      const about = needsSmtpUtf8(to) ? 'to' : 'from';
      return unsendable(
        'address_needs_smtputf8',
        about,
        'the address needs SMTPUTF8, which the server does not offer',
      );
    }

    const { content: given } = message;
    const content = typeof given === 'string' ? readyContent(given) : wireContent(given);
    if (content === null) {
      return unsendable(
        'content_line_ends',
        'content',
        'the content has a CR or LF that is not part of a CRLF',
      );
    }
    if (content.eightBit && !eightBitMime) {
      return unsendable(
        'content_needs_8bitmime',
        'content',
        'the content has octets above 127, the server takes 7 bits',
      );
    }
    if (size !== null && size.limit !== null && content.size > size.limit) {
      const detail = `the message has ${content.size} octets, the server takes ${size.limit}`;
      return unsendable('message_too_large', 'content', detail);
    }

    let mail = `MAIL FROM:<${from}>`;
    if (size !== null) mail += ` SIZE=${content.size}`;
    if (content.eightBit) mail += ' BODY=8BITMIME';
    if (international) mail += ' SMTPUTF8';
    const encode = (command: string) => (international ? Buffer.from(command) : command);
    return { envelope: [encode(`${mail}\r\n`), encode(`RCPT TO:<${to}>\r\n`)], content };
  }

  /** MAIL and RCPT; `null` once the recipient is accepted. */
  async #sendEnvelope([mail, rcpt]: Prepared['envelope']): Promise<Transmission | null> {
    const { pipelining } = this.#extensions;
    this.#wire.write(...(pipelining ? [mail, rcpt] : [mail]));
    const sender = await this.#expect('mail', 2);
    if (!sender.passed) {
      if (pipelining) {
        this.#owed = 1;
        this.#unfinished = true;
      }
      return sender.end;
    }
    this.#unfinished = true;
    if (!pipelining) {
      const early = this.#spokeEarly('rcpt');
      if (early !== null) return early;
      this.#wire.write(rcpt);
    }
    const recipient = await this.#expect('rcpt', 2);
    return recipient.passed ? null : recipient.end;
  }

  /** Also when the connection is lost meanwhile the answer is waited for: it may write, and nobody else should then. */
  async #askOwner(hooks: TransmissionHooks): Promise<'yes' | 'no' | 'late'> {
    const late = Promise.withResolvers<'late'>();
    const timer = setTimeout(() => late.resolve('late'), this.#timeouts.handOver);
    try {
      const answer = hooks.beforeHandOver().then((owned) => (owned === true ? 'yes' : 'no'));
      return await Promise.race([answer, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #sendContent({ octets }: WireContent): Promise<Transmission> {
    const early = this.#spokeEarly('message');
    if (early !== null) return early;
    if (octets.length <= ONE_WRITE_OCTETS) {
      this.#wire.write(octets, '.\r\n');
    } else {
      // The last CRLF of the content is the first of CRLF.CRLF: it is held back until the rest is out.
      const bytes = typeof octets === 'string' ? Buffer.from(octets, 'latin1') : octets;
      const end = bytes.length - 2;
      for (let at = 0; at < end; at += BLOCK_OCTETS) {
        await this.#wire.flush(bytes.subarray(at, Math.min(at + BLOCK_OCTETS, end)), this.#timeouts.message);
        const interrupted = this.#spokeEarly('message');
        if (interrupted !== null) return interrupted;
      }
      this.#wire.write('\r\n.\r\n');
    }
    const final = await this.#expect('final', 2);
    if (!final.passed) return final.end;
    return { kind: 'accepted', reply: plain(final.reply) };
  }

  /** Waits for the reply that this phase needs; anything else is the end of the transaction. */
  async #expect(phase: SmtpPhase, firstDigit: 2 | 3): Promise<Step> {
    const received = await this.#wire.receive(this.#timeouts[phase]);
    // However the transaction ended, a reply to the final dot ends it for the server too.
    if (phase === 'final') this.#unfinished = false;
    if (received.kind === 'reply' && Math.floor(received.reply.code / 100) === firstDigit) {
      return { passed: true, reply: received.reply };
    }
    return { passed: false, end: this.#endedBy(phase, received) };
  }

  #unlessPassed(phase: SmtpPhase, received: Received, firstDigit: 2 | 3): Transmission | null {
    const passed = received.kind === 'reply' && Math.floor(received.reply.code / 100) === firstDigit;
    return passed ? null : this.#endedBy(phase, received);
  }

  #endedBy(phase: SmtpPhase, received: Received): Transmission {
    if (received.kind === 'ended') return this.#broken(phase, received.detail);
    const reply = plain(received.reply);
    if (reply.code < 400) return this.#broken(phase, `the server answered ${reply.code} out of turn`);
    // RFC 5321 section 3.8: the server is closing the channel.
    if (reply.code === 421) this.destroy('the server said 421');
    return { kind: 'refused', phase, reply };
  }

  /**
   * What came before the next command was written. Only 421 may come at any time, and a 4yz or 5yz within the content
   * says what a server thinks of it; either way the conversation cannot go on, for replies and commands do not match.
   */
  #spokeEarly(phase: SmtpPhase): Transmission | null {
    const unread = this.#wire.unread;
    if (unread === null && !this.#wire.hasInput) return null;
    const counts = unread?.kind === 'ended' || unread?.reply.code === 421 || phase === 'message';
    const end =
      unread !== null && counts
        ? this.#endedBy(phase, unread)
        : this.#broken(phase, 'the server answered before it was asked');
    this.destroy('the server spoke out of turn');
    return end;
  }

  #broken(phase: SmtpPhase, detail: string): Transmission {
    this.destroy(detail);
    return { kind: 'broken', phase, mayHaveBeenTaken: phase === 'final', detail };
  }

  async #ask(command: 'RSET' | 'NOOP'): Promise<boolean> {
    if (this.#wire.hasInput) {
      this.destroy('the server spoke out of turn');
      return false;
    }
    this.#wire.write(`${command}\r\n`);
    const received = await this.#wire.receive(this.#timeouts.reset);
    if (received.kind === 'reply' && Math.floor(received.reply.code / 100) === 2) return true;
    this.destroy(`${command} was not answered with 250`);
    return false;
  }
}

function plain({ code, enhancedCode, text }: ServerReply): SmtpReply {
  return { code, enhancedCode, text };
}

function unsendable(why: Unsendable, about: keyof OutgoingMessage, detail: string): Transmission {
  return { kind: 'unsendable', why, about, detail };
}
