import { en, type Messages } from './en.ts';

export type { Messages } from './en.ts';

/** The languages that there are, by their tags (RFC 5646); the first is used where none of a reader's is there. */
export const LANGUAGES: Readonly<Record<string, Messages>> = { en };

/** The line below emails is in this one: which language a recipient reads is not known when an email is made. */
export const DEFAULT_MESSAGES: Messages = en;
