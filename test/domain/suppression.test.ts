import { describe, expect, it } from 'vitest';
import { decideSuppression, type SuppressionFacts } from '../../domain/suppression.ts';
import { SUPPRESSION_REASONS, type SuppressionReason } from '../../domain/words.ts';

const NOTHING_AGAINST: SuppressionFacts = {
  kind: 'marketing',
  optedOut: false,
  bounced: false,
  addressReasons: [],
  listReasons: [],
  domainEntries: [],
  transactionalPassesOptOut: false,
};

function subsets<T>(items: readonly T[]): T[][] {
  return items.reduce<T[][]>((all, item) => all.flatMap((subset) => [subset, [...subset, item]]), [[]]);
}

/** Every combination of everything: 2 × 2 × 2 × 16 × 16 × 2 × 2. */
function* combinations(): Generator<SuppressionFacts> {
  const reasons: SuppressionReason[][] = subsets(SUPPRESSION_REASONS);
  for (const kind of ['marketing', 'transactional'] as const)
    for (const optedOut of [false, true])
      for (const bounced of [false, true])
        for (const addressReasons of reasons)
          for (const listReasons of reasons)
            for (const domainEntries of [[], ['example.com']])
              for (const transactionalPassesOptOut of [false, true])
                yield {
                  kind,
                  optedOut,
                  bounced,
                  addressReasons,
                  listReasons,
                  domainEntries,
                  transactionalPassesOptOut,
                };
}

describe('decideSuppression', () => {
  it('I1: agrees with SPEC.md in every combination of kind, flags, entries and setting', () => {
    let count = 0;
    for (const facts of combinations()) {
      count++;
      // Said the other way round than the code says it: what is against the send, less what may be waived.
      const against = new Set<string>();
      if (facts.optedOut) against.add('prospect:opt_out');
      if (facts.bounced) against.add('prospect:bounced');
      for (const reason of facts.addressReasons) against.add(`address:${reason}`);
      for (const reason of facts.listReasons) against.add(`list:${reason}`);
      for (const domain of facts.domainEntries) against.add(`domain:${domain}`);
      if (facts.kind === 'transactional' && facts.transactionalPassesOptOut) {
        for (const waivable of ['prospect:opt_out', 'address:opt_out', 'list:opt_out'])
          against.delete(waivable);
      }
      const decision = decideSuppression(facts);
      expect(decision.allowed).toBe(against.size === 0);
      if (!decision.allowed) {
        expect(new Set<string>(decision.because)).toEqual(against);
        expect(decision.because).toHaveLength(against.size);
      }
    }
    expect(count).toBe(8192);
  });

  it('names all causes in a fixed order, whatever order they are given in', () => {
    expect(
      decideSuppression({
        ...NOTHING_AGAINST,
        optedOut: true,
        bounced: true,
        addressReasons: ['manual', 'complaint', 'bounced', 'opt_out'],
        listReasons: ['opt_out'],
        domainEntries: ['mail.example.com', 'example.com'],
      }),
    ).toEqual({
      allowed: false,
      because: [
        'prospect:opt_out',
        'prospect:bounced',
        'address:opt_out',
        'address:bounced',
        'address:complaint',
        'address:manual',
        'list:opt_out',
        'domain:example.com',
        'domain:mail.example.com',
      ],
    });
  });

  it('I3: neither flag nor entry lifts or implies another', () => {
    expect(decideSuppression({ ...NOTHING_AGAINST, optedOut: true })).toEqual({
      allowed: false,
      because: ['prospect:opt_out'],
    });
    expect(decideSuppression({ ...NOTHING_AGAINST, bounced: true })).toEqual({
      allowed: false,
      because: ['prospect:bounced'],
    });
    expect(decideSuppression({ ...NOTHING_AGAINST, addressReasons: ['bounced'] })).toEqual({
      allowed: false,
      because: ['address:bounced'],
    });
    expect(decideSuppression(NOTHING_AGAINST)).toEqual({ allowed: true });
  });

  it('does not let transactional mail pass an opt-out by default', () => {
    const transactional = { ...NOTHING_AGAINST, kind: 'transactional', optedOut: true } as const;
    expect(decideSuppression(transactional).allowed).toBe(false);
    expect(decideSuppression({ ...transactional, transactionalPassesOptOut: true }).allowed).toBe(true);
    expect(
      decideSuppression({
        ...transactional,
        transactionalPassesOptOut: true,
        addressReasons: ['opt_out', 'complaint'],
      }),
    ).toEqual({ allowed: false, because: ['address:complaint'] });
  });
});
