import { createUnsubscribing } from '../../adapters/mailer/unsubscribing.ts';
import { createUnsubscribeTokens } from '../../adapters/tokens/unsubscribeTokens.ts';

/** Tokens of a key that every test knows. */
export const testTokens = createUnsubscribeTokens([new Uint8Array(32).fill(3)]);

/** Unsubscribing by link and mail as recipients of test mail see it. */
export const testUnsubscribing = createUnsubscribing({
  tokens: testTokens,
  publicUrl: 'https://heed.test',
  mailbox: 'unsubscribe@heed.test',
  listDomain: 'heed.test',
});
