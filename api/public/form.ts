import { readLimitedBody } from '../limitedBody.ts';

/** Bytes of a form: a token is not among them, and of list ids a thousand fit. */
const MAX_BYTES = 64 * 1024;
/** How long a body may take to come in. Milliseconds. */
const MAX_MS = 10_000;

export type ReadForm =
  | { readonly ok: true; readonly form: URLSearchParams | FormData }
  | { readonly ok: false; readonly why: 'too_large' | 'too_slow' | 'malformed' };

/**
 * Reads a form in either encoding (RFC 8058 section 3.2: both are sent). A body without a type, or with a wrong one, is
 * read as URL-encoded: a mail program that says no must not fail on that.
 */
export async function readForm(request: Request): Promise<ReadForm> {
  const bytes = await readLimitedBody(request.body, { bytes: MAX_BYTES, milliseconds: MAX_MS });
  if (typeof bytes === 'string') return { ok: false, why: bytes };
  const type = request.headers.get('content-type') ?? '';
  if (!/^\s*multipart\/form-data\b/i.test(type)) {
    return { ok: true, form: new URLSearchParams(Buffer.from(bytes).toString('utf8')) };
  }
  try {
    return { ok: true, form: await new Response(bytes, { headers: { 'content-type': type } }).formData() };
  } catch {
    return { ok: false, why: 'malformed' };
  }
}
