import type { Criteria } from '../criteria/criteria.ts';

/** Who is meant by a broadcast: whoever stands in one of the lists, or matches the criteria; minus exclusion lists. */
export type Audience = (
  | { readonly listIds: readonly [string, ...string[]] }
  | { readonly criteria: Criteria }
) & { readonly excludeListIds: readonly string[] };

/** The audience as one filter. */
export function audienceCriteria(audience: Audience): Criteria {
  const who = 'listIds' in audience ? { any: audience.listIds.map(memberOf) } : audience.criteria;
  return audience.excludeListIds.length === 0
    ? who
    : { all: [who, { none: audience.excludeListIds.map(memberOf) }] };
}

/** Those of one list of the audience. */
export function audienceOfList(audience: Audience, listId: string): Criteria {
  return audienceCriteria({ listIds: [listId], excludeListIds: audience.excludeListIds });
}

function memberOf(listId: string): Criteria {
  return { list: listId, member: true };
}
