import type { EmailKind } from '../../domain/words.ts';
import type { OutgoingMessage } from './mailer.ts';

/** What a message is made of. */
export interface EmailToCompose {
  readonly sendId: string;
  readonly kind: EmailKind;
  /** The list that it is sent to, where there is one. */
  readonly listId: string | null;
  readonly messageId: string;
  readonly createdAt: Date;
  readonly recipient: string | null;
  readonly email: {
    readonly id: string;
    readonly version: number;
    readonly subject: string;
    readonly fromName: string | null;
    readonly fromAddress: string;
    readonly replyTo: string | null;
    readonly html: string | null;
    readonly text: string | null;
  };
  /** Header fields that the message begins with, each with its CRLF, in ASCII. */
  readonly firstFields?: string;
  /** Fields of the prospect by their column names, and `custom`. */
  readonly prospect: Readonly<Record<string, unknown>>;
}

/** The email cannot be made for this prospect, and trying again would change nothing. */
export interface RenderFailure {
  readonly ok: false;
  /** Names the part and the fault; no personal data. */
  readonly problem: string;
}

export type Composed = { readonly ok: true; readonly message: OutgoingMessage } | RenderFailure;

/** Makes a prospect's own message from an email. */
export interface EmailComposer {
  compose(send: EmailToCompose): Promise<Composed>;
}
