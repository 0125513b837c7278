import { providerHeader, type SmtpProvider } from '../../domain/providerHeader.ts';
import type { DkimSigner } from '../dkim/signer.ts';
import type { ReturnPath } from '../tokens/returnPath.ts';
import type { EmailComposer, EmailToCompose } from './composer.ts';

export interface SigningOptions {
  /** `null`: reports come back to the From address, as with any mail program. */
  readonly returnPath: Pick<ReturnPath, 'of'> | null;
  readonly dkim: DkimSigner;
  /** Domain of ours that stands for the sender in Feedback-ID. */
  readonly senderDomain: string;
  /** The provider that mail leaves by, where its events are to name the send. */
  readonly provider?: SmtpProvider | null;
}

/**
 * A composer whose messages say who sends them: a Feedback-ID, signatures that cover it, and a return path that names
 * the send.
 */
export function createSigningComposer(
  composer: EmailComposer,
  { returnPath, dkim, senderDomain, provider }: SigningOptions,
): EmailComposer {
  const sender = senderId(senderDomain);
  return {
    async compose(send) {
      const fields = [feedbackId(send, sender), ...(provider ? [providerHeader(provider, send.sendId)] : [])];
      const composed = await composer.compose({ ...send, firstFields: `${fields.join('\r\n')}\r\n` });
      if (!composed.ok) return composed;
      const { message } = composed;
      const { fromAddress } = send.email;
      const signatures = await dkim.signaturesOf(
        message.content,
        fromAddress.slice(fromAddress.lastIndexOf('@') + 1),
      );
      return {
        ok: true,
        message: {
          ...message,
          from: returnPath === null ? message.from : returnPath.of(send.sendId),
          content: inFront(signatures, message.content),
        },
      };
    },
  };
}

function inFront(fields: string, content: Uint8Array | string): Uint8Array | string {
  if (typeof content === 'string') return fields + content;
  return fields === '' ? content : Buffer.concat([Buffer.from(fields, 'latin1'), content]);
}

/**
 * The header field by which Gmail groups complaints (https://support.google.com/a/answer/6254652): the email, the list,
 * the kind and the sender. Nothing in it differs between recipients.
 */
function feedbackId({ email, listId, kind }: EmailToCompose, sender: string): string {
  return `Feedback-ID: ${email.id}:${listId ?? 'none'}:${kind}:${sender}`;
}

/** Gmail's page asks for 5 to 15 characters that are always the same. */
function senderId(domain: string): string {
  return domain
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '')
    .slice(-15)
    .padStart(5, 'x');
}
