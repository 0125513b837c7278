import type { OutboxMessage } from '../queries/outbox.ts';

/**
 * Parts of the outbox, each told by itself, so that nothing waits for what there may be thousands of in another, nor for
 * Temporal where it does not need it: `changes` of prospects, who are to be enrolled within seconds; what the relay does
 * itself, in the `database` alone; `single` commands; what is told to each of those `under_way`; and `starts` of what is new.
 */
export const OUTBOX_PARTS = ['changes', 'database', 'single', 'under_way', 'starts'] as const;
export type OutboxPart = (typeof OUTBOX_PARTS)[number];

/** Types whose messages are not single commands. */
const TYPES_OF = {
  changes: ['prospectsChanged'],
  database: [
    'applyInbound',
    'endSendsOfDomain',
    'endSendsOfBroadcast',
    'followAutomation',
    'moveEnrollments',
    'wakeHeldBack',
    'wakePausedSends',
  ],
  under_way: ['wakeSend', 'wakeEnrollment'],
  starts: ['startSend', 'startEnrollment'],
} as const satisfies Partial<Record<OutboxPart, readonly OutboxMessage['type'][]>>;

/** SQL of the part that a message belongs to. A send that goes on is under way, whatever starts its workflow. */
export const PART_OF_MESSAGE = `case
  when message->>'type' = 'startSend' and message->>'goesOn' = 'true' then 'under_way'
  when message->>'type' = 'endSend' and message->>'oneOfMany' = 'true' then 'under_way'
  ${Object.entries(TYPES_OF)
    .map(
      ([part, types]) =>
        `when message->>'type' in (${types.map((type) => `'${type}'`).join(', ')}) then '${part}'`,
    )
    .join('\n  ')}
  else 'single' end`;
