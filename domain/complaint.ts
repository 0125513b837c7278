/**
 * Types of feedback that no person wrote to complain: somebody says that it is no spam (RFC 6430), or a system reports a
 * failed authentication (RFC 6591) or a virus (RFC 5965 section 7.3).
 */
const NO_COMPLAINT = new Set(['not-spam', 'auth-failure', 'dmarc', 'virus']);

/**
 * Whether a feedback report is a complaint. One without a type, or of a type that is not known, is: RFC 5965 section
 * 3.1 has `other` for whatever does not fit, and to be wrong means one email too few.
 *
 * @param feedbackType Feedback-Type, in any letter case
 */
export function isComplaint(feedbackType: string | null): boolean {
  return !NO_COMPLAINT.has(feedbackType?.trim().toLowerCase() ?? '');
}
