import MailComposer from 'nodemailer/lib/mail-composer/index.js';
import type { EmailComposer } from './composer.ts';
export function createEmailComposer(): EmailComposer {
  return {
    async compose(send) {
      const content: Buffer = await new MailComposer({ from: send.email.fromAddress, to: send.recipient!, subject: send.email.subject, text: send.email.text ?? '', messageId: send.messageId, newline: '\r\n' } as never).compile().build();
      return { ok: true, message: { from: send.email.fromAddress, to: send.recipient!, content } };
    },
  };
}
