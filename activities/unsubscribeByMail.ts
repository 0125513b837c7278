import type { UnsubscribeTokens } from '../adapters/tokens/unsubscribeTokens.ts';
import type { Database } from '../db/connection.ts';
import { unsubscribeInOneStep } from '../db/queries/unsubscribe.ts';

/**
 * Unsubscribes by mail (RFC 2369 section 3.2): whoever reads the unsubscribe mailbox calls it with the token of the
 * subject, found by `tokenOfSubject`. The same message twice changes nothing more. Who the message is from is not
 * looked at: the token is the authority, and the header From can be anybody's.
 *
 * @returns false where the token is none, or none of ours; nothing was changed then
 */
export async function unsubscribeByMail(
  parts: { readonly db: Database; readonly tokens: UnsubscribeTokens },
  message: { readonly token: string; readonly now: Date },
): Promise<boolean> {
  const sendId = parts.tokens.read('mail', message.token);
  if (sendId === null) return false;
  return parts.db.transaction((tx) =>
    unsubscribeInOneStep(tx, { way: 'unsubscribe_mail' }, message.now, sendId),
  );
}
