import { composeMessage } from './compose.ts';
import type { EmailComposer, EmailToCompose } from './composer.ts';
import { type ParsedEmail, parseEmail } from './render.ts';
import type { Unsubscribing } from './unsubscribing.ts';

/** Versions of emails kept parsed: a broadcast renders one of them many thousand times. */
const PARSED_KEPT = 50;

/**
 * Composes from templates; a version of an email never changes, so it is parsed once. Marketing email can be unsubscribed
 * from, by its headers and by a link; transactional email has neither.
 */
export function createEmailComposer(unsubscribing: Unsubscribing): EmailComposer {
  const parsed = new Map<string, ParsedEmail>();

  const parsedOnce = (email: EmailToCompose['email']): ParsedEmail => {
    const key = `${email.id}:${email.version}`;
    let found = parsed.get(key);
    if (found === undefined) {
      found = parseEmail(email);
      if (parsed.size >= PARSED_KEPT) parsed.delete(parsed.keys().next().value!);
      parsed.set(key, found);
    }
    return found;
  };

  return {
    async compose({ sendId, kind, listId, email, prospect, recipient, messageId, createdAt, firstFields }) {
      if (recipient === null) return { ok: false, problem: 'The recipient was erased.' };
      const isMarketing = kind === 'marketing';
      const rendered = parsedOnce(email).render(prospect, isMarketing ? unsubscribing.urlOf(sendId) : null);
      if (!rendered.ok) {
        const { field, line, column, message } = rendered.problem;
        return { ok: false, problem: `${field}, line ${line}, column ${column}: ${message}` };
      }
      const { fromName, subject, html, text } = rendered.email;
      const content = composeMessage({
        messageId,
        date: createdAt,
        from: { name: fromName, address: email.fromAddress },
        to: recipient,
        replyTo: email.replyTo,
        subject,
        html,
        text,
        ...(isMarketing && { headers: unsubscribing.headersOf(sendId, listId) }),
        ...(firstFields !== undefined && { firstFields }),
      });
      return { ok: true, message: { from: email.fromAddress, to: recipient, content } };
    },
  };
}
