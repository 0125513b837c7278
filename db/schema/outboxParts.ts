import type { OutboxMessage } from '../queries/outbox.ts';

/**
 * Parts of the outbox, each told in its own order, so that none waits for what there may be thousands of in another:
 * `changes` of prospects, who are to be enrolled within seconds; `single` commands and what came in; what is told to those
 * `under_way`, page by page or to each; and `starts` of what is new.
 */
export const OUTBOX_PARTS = ['changes', 'single', 'under_way', 'starts'] as const;
export type OutboxPart = (typeof OUTBOX_PARTS)[number];

/** Types whose messages are not single commands. */
const TYPES_OF = {
  changes: ['prospectsChanged'],
  under_way: [
    'endSend',
    'wakeSend',
    'wakeEnrollment',
    'followAutomation',
    'moveEnrollments',
    'wakeHeldBack',
    'wakePausedSends',
  ],
  starts: ['startSend', 'startEnrollment'],
} as const satisfies Partial<Record<OutboxPart, readonly OutboxMessage['type'][]>>;

/** SQL of the part that a message belongs to. A send that goes on is under way, whatever starts its workflow. */
export const PART_OF_MESSAGE = `case
  when message->>'type' = 'startSend' and message->>'goesOn' = 'true' then 'under_way'
  ${Object.entries(TYPES_OF)
    .map(
      ([part, types]) =>
        `when message->>'type' in (${types.map((type) => `'${type}'`).join(', ')}) then '${part}'`,
    )
    .join('\n  ')}
  else 'single' end`;
