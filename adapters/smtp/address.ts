/** The longest path of RFC 5321 section 4.5.3.1.3, less its angle brackets, in octets. */
const MAX_MAILBOX_OCTETS = 254;

/**
 * Says why a mailbox (RFC 5321 section 4.1.2, RFC 6531 section 3.3) cannot be put into MAIL FROM or RCPT TO, or
 * `null` when it can. No judgement whether it exists: only that it stays one argument of one command, whatever it
 * is made of.
 */
export function malformedMailbox(mailbox: string): string | null {
  if (!mailbox.isWellFormed()) return 'it has half of a surrogate pair';
  if (/\p{Cc}/u.test(mailbox)) return 'it has a control character';
  if (Buffer.byteLength(mailbox) > MAX_MAILBOX_OCTETS)
    return `it is longer than ${MAX_MAILBOX_OCTETS} octets`;

  const localEnd = mailbox.startsWith('"') ? endOfQuotedString(mailbox) : mailbox.search(/[@\s<>"\\]/);
  if (localEnd < 1 || mailbox[localEnd] !== '@')
    return 'its local part is neither a word nor a quoted string';
  const domain = mailbox.slice(localEnd + 1);
  if (domain === '' || /[@\s<>"\\]/.test(domain))
    return 'its domain is empty or has a character that no domain has';
  return null;
}

/** Whether the address has to be announced with SMTPUTF8. */
export function needsSmtpUtf8(mailbox: string): boolean {
  return /[^\p{ASCII}]/u.test(mailbox);
}

/** Index behind the closing quote of a string that begins with one, -1 where it has none. */
function endOfQuotedString(text: string): number {
  for (let index = 1; index < text.length; index++) {
    if (text[index] === '\\') index++;
    else if (text[index] === '"') return index + 1;
  }
  return -1;
}
