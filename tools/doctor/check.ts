/** One thing that was looked at. */
export interface Check {
  /** What, e.g. `SPF of bounce.example.com`. */
  readonly subject: string;
  /** `fail`: mail will be refused or reports lost. `warn`: worth doing, or could not be found out. */
  readonly status: 'ok' | 'warn' | 'fail';
  readonly found: string;
  /** What to do; `null` where nothing is to be done. */
  readonly fix: string | null;
}

/** Records of one name and type, none where there are none, or why nobody knows. */
export type Looked<T> = { readonly records: readonly T[] } | { readonly failure: string };

export const ok = (subject: string, found: string): Check => ({ subject, status: 'ok', found, fix: null });

export const warn = (subject: string, found: string, fix: string): Check => ({
  subject,
  status: 'warn',
  found,
  fix,
});

export const fail = (subject: string, found: string, fix: string): Check => ({
  subject,
  status: 'fail',
  found,
  fix,
});

/** DNS did not say: nothing is known, so nothing is called wrong. */
export function notLookedUp(subject: string, failure: string): Check {
  return warn(
    subject,
    `DNS did not answer (${failure})`,
    'Try again; where it stays so, look at the name servers.',
  );
}
