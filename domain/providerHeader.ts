/** Smart hosts of providers that give back, in each event, what a header of theirs says. */
export type SmtpProvider = 'sendgrid' | 'mailgun' | 'postmark';

/**
 * The header field by which a provider's events name the send: it is for the provider, which takes it off. Amazon SES
 * needs none, since its events tell the envelope sender, which is the signed return path.
 *
 * - SendGrid, unique arguments: https://www.twilio.com/docs/sendgrid/for-developers/sending-email/unique-arguments
 * - Mailgun, custom variables: https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/send-smtp
 * - Postmark, metadata: https://postmarkapp.com/support/article/1125-custom-metadata-faq
 */
export function providerHeader(provider: SmtpProvider, sendId: string): string {
  switch (provider) {
    case 'sendgrid':
      return `X-SMTPAPI: {"unique_args": {"heed_send": "${sendId}"}}`;
    case 'mailgun':
      return `X-Mailgun-Variables: {"heed_send": "${sendId}"}`;
    case 'postmark':
      return `X-PM-Metadata-heed_send: ${sendId}`;
  }
}
