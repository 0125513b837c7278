import { type CompiledMessage, compileMessage } from './compiledMessage.ts';
import type { Composed, EmailComposer, EmailToCompose } from './composer.ts';
import type { Unsubscribing } from './unsubscribing.ts';

/** Versions of emails kept compiled. */
const COMPILED_KEPT = 50;

/**
 * A composer for many messages of one email: what is the same for everybody is made once. Whatever cannot be made so, by
 * its template or for a recipient, is composed by `plain`; what arrives is the same.
 */
export function createCompiledComposer(plain: EmailComposer, unsubscribing: Unsubscribing): EmailComposer {
  const compiled = new Map<string, CompiledMessage | null>();

  const compiledOnce = (email: EmailToCompose['email'], hasLink: boolean): CompiledMessage | null => {
    const key = `${email.id}:${email.version}:${hasLink}`;
    let found = compiled.get(key);
    if (found === undefined) {
      found = attempt(() => compileMessage(email, hasLink));
      if (compiled.size >= COMPILED_KEPT) compiled.delete(compiled.keys().next().value!);
      compiled.set(key, found);
    }
    return found;
  };

  return {
    async compose(send): Promise<Composed> {
      const { sendId, kind, listId, email, prospect, recipient, messageId, createdAt, firstFields } = send;
      const isMarketing = kind === 'marketing';
      const message = recipient === null ? null : compiledOnce(email, isMarketing);
      const content =
        message &&
        attempt(() =>
          message.write({
            firstFields: firstFields ?? '',
            messageId,
            date: createdAt,
            to: recipient!,
            values: prospect,
            unsubscribeUrl: isMarketing ? unsubscribing.urlOf(sendId) : null,
            headers: isMarketing ? unsubscribing.headersOf(sendId, listId) : {},
          }),
        );
      if (!content) return plain.compose(send);
      return { ok: true, message: { from: email.fromAddress, to: recipient!, content } };
    },
  };
}

/** What goes wrong is told by the plain way, which names the place in the template. */
function attempt<T>(work: () => T): T | null {
  try {
    return work();
  } catch {
    return null;
  }
}
