import type { OneClickScope } from './words.ts';

/** What a recipient says no to, or takes a no back from. */
export interface Choice {
  readonly everything: boolean;
  /** Single lists. */
  readonly listIds: readonly string[];
}

/** A list as it concerns one recipient. */
export interface ListStanding {
  readonly id: string;
  readonly name: string;
  readonly private: boolean;
  /** Whether the recipient unsubscribed from it. */
  readonly optedOut: boolean;
  /** Whether the email that the link stands in was sent to it. */
  readonly sentTo: boolean;
}

/** How somebody stands who holds an unsubscribe link. */
export interface Standing {
  /** Whether `opt_out` holds for the person's current address. */
  readonly optedOut: boolean;
  /** Whether that is the person's own word, which nobody else takes back. */
  readonly byThemselves: boolean;
  /** Whether something keeps us from writing that is not theirs to take back: a bounce, a complaint, a manual entry. */
  readonly otherwiseSuppressed: boolean;
  /** Lists that the person stands in or unsubscribed from, and the one that the email was sent to. */
  readonly lists: readonly ListStanding[];
}

/** What a page shows and takes. */
export interface Offer {
  /** Whether it can be unsubscribed from everything; not where that is so already. */
  readonly everything: boolean;
  /** Whether somebody else said no to everything for the person, who can make it their own word. */
  readonly confirm: boolean;
  /** Lists to unsubscribe from; none where everything is off. */
  readonly lists: readonly ListStanding[];
  readonly takeBack: {
    readonly everything: boolean;
    /** Lists whose opt-out can be taken back; none as long as everything is off, for it would change nothing to be seen. */
    readonly lists: readonly ListStanding[];
  };
}

/** What somebody is offered, of the lists that may be shown. */
export function offerTo(standing: Standing): Offer {
  const { optedOut, byThemselves } = standing;
  const shown = optedOut ? [] : shownLists(standing);
  return {
    everything: !optedOut,
    confirm: optedOut && !byThemselves,
    lists: shown.filter((list) => !list.optedOut),
    takeBack: { everything: optedOut, lists: shown.filter((list) => list.optedOut) },
  };
}

/**
 * A private list is not shown, unless it is the one that the email was sent to, whose reader knows of it. The list of
 * the email comes first, the others by name.
 */
function shownLists(standing: Standing): ListStanding[] {
  return standing.lists
    .filter((list) => list.sentTo || !list.private)
    .toSorted((a, b) => Number(b.sentTo) - Number(a.sentTo) || a.name.localeCompare(b.name, 'en'));
}

/** What unsubscribing in one step is from; email that was sent to no list is always from everything. */
export function oneStepChoice(scope: OneClickScope, listId: string | null): Choice {
  return scope === 'list' && listId !== null
    ? { everything: false, listIds: [listId] }
    : { everything: true, listIds: [] };
}

/**
 * A no as it is taken: whatever stood on the page, also where it holds already by now; of lists those that were shown,
 * so that no id that somebody made up goes any further.
 */
export function allowedNo(asked: Choice, standing: Standing): Choice {
  return { everything: asked.everything, listIds: among(shownLists(standing), asked) };
}

/** What is taken back of what was asked for: only what is offered to be taken back as things stand now. */
export function allowedTakeBack(asked: Choice, standing: Standing): Choice {
  const { takeBack } = offerTo(standing);
  return { everything: asked.everything && takeBack.everything, listIds: among(takeBack.lists, asked) };
}

function among(lists: readonly ListStanding[], asked: Choice): string[] {
  return lists.map((list) => list.id).filter((id) => asked.listIds.includes(id));
}

export function isEmpty(choice: Choice): boolean {
  return !choice.everything && choice.listIds.length === 0;
}
