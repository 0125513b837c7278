import type { CustomValue } from '../prospectFields.ts';
import type { StandardField } from '../words.ts';
import type { HistoryKind, SuppressedFor } from './shape.ts';

/** What criteria can ask of one prospect. What the criteria at hand does not ask may be left empty. */
export interface ProspectFacts {
  /** Comparison form of the address. */
  readonly email: string | null;
  readonly emailDomain: string | null;
  readonly fields: Readonly<Record<StandardField, string | null>>;
  readonly custom: Readonly<Record<string, CustomValue>>;
  readonly emailOptOut: boolean;
  readonly bounced: boolean;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** `domain` where its domain or a parent is suppressed; reasons of the address itself else. */
  readonly suppressedFor: ReadonlySet<SuppressedFor>;
  /** Ids of the lists that the prospect stands in, the dynamic ones included. */
  readonly lists: ReadonlySet<string>;
  readonly history: readonly HistoryEvent[];
}

/** One thing that happened to a prospect; the same `subject` counts once for each kind. */
export interface HistoryEvent {
  readonly kind: HistoryKind;
  /** What it is counted by: the id of a send or an enrollment, the moment of an unsubscribe. */
  readonly subject: string;
  readonly at: Date;
  readonly emailId: string | null;
  /** Every list that it has to do with. */
  readonly listIds: readonly string[];
  readonly automationId: string | null;
}
