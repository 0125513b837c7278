import type { BounceAction, Category } from './verdict.ts';

type Stated = { readonly action: BounceAction; readonly category: Category };

const SUPPRESSED: Stated = { action: 'rejected', category: 'policy' };
const UNWANTED: Stated = { action: 'rejected', category: 'content' };

const BY_TYPE: Readonly<Record<string, Stated>> = {
  // Found dead by SES before.
  'Permanent/Suppressed': { action: 'hard', category: 'user_unknown' },
  // The list of the account holds complainers too, so being on it does not make an address dead.
  'Permanent/OnAccountSuppressionList': SUPPRESSED,
  'Permanent/UnsubscribedRecipient': SUPPRESSED,
  'Transient/MessageTooLarge': { action: 'rejected', category: 'message_too_large' },
  'Transient/ContentRejected': UNWANTED,
  'Transient/AttachmentRejected': UNWANTED,
};

/**
 * What Amazon SES itself says of a bounce by its type and subtype, or `null` where the reply that it passes on is to be
 * judged. https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types
 */
export function statedBySes(type: string, subType: string): Stated | null {
  return BY_TYPE[`${type}/${subType}`] ?? null;
}
