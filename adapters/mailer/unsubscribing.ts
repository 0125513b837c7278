import { subjectOf } from '../../domain/unsubscribeToken.ts';
import type { UnsubscribeTokens } from '../tokens/unsubscribeTokens.ts';

/** How the recipients of marketing email say no. */
export interface Unsubscribing {
  /** The link of one send; the same for all of its attempts. */
  urlOf(sendId: string): string;
  /**
   * What a mail program unsubscribes by: List-Unsubscribe (RFC 2369 section 3.2) and List-Unsubscribe-Post (RFC 8058
   * section 3.1), and, where it was sent to a list, List-Id (RFC 2919), which tells the list's id and not its name.
   */
  headersOf(sendId: string, listId: string | null): Readonly<Record<string, string>>;
}

export interface UnsubscribingOptions {
  readonly tokens: UnsubscribeTokens;
  /** Beginning of the links, without a slash at the end. */
  readonly publicUrl: string;
  /** Address that people unsubscribe at by mail; `null` where there is none. */
  readonly mailbox: string | null;
  /** Domain of ours that the ids of lists end in. */
  readonly listDomain: string;
}

export function createUnsubscribing(options: UnsubscribingOptions): Unsubscribing {
  const { tokens, publicUrl, mailbox, listDomain } = options;
  // Asked for twice for each message, by its headers and by its text.
  let last = { sendId: '', url: '' };
  const urlOf = (sendId: string) => {
    if (last.sendId !== sendId) last = { sendId, url: `${publicUrl}/u/${tokens.issue('link', sendId)}` };
    return last.url;
  };
  const mailOf = (sendId: string) =>
    `mailto:${mailboxInUri(mailbox!)}?subject=${encodeURIComponent(subjectOf(tokens.issue('mail', sendId)))}`;
  return {
    urlOf,
    headersOf: (sendId, listId) => ({
      'List-Unsubscribe': `<${urlOf(sendId)}>${mailbox === null ? '' : `, <${mailOf(sendId)}>`}`,
      'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
      ...(listId !== null && { 'List-Id': `<${listId}.${listDomain}>` }),
    }),
  };
}

/** RFC 6068 section 2: everything but the @ between the two halves is encoded. */
function mailboxInUri(mailbox: string): string {
  const at = mailbox.lastIndexOf('@');
  return `${encodeURIComponent(mailbox.slice(0, at))}@${mailbox.slice(at + 1)}`;
}
