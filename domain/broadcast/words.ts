/**
 * Where a broadcast stands. `scheduled` waits for its time; `sent`: everybody had a first attempt or was refused, and
 * who soft-bounced may still be waiting for another one.
 */
export const BROADCAST_STATES = ['draft', 'scheduled', 'sending', 'paused', 'sent', 'cancelled'] as const;
export type BroadcastState = (typeof BROADCAST_STATES)[number];

/** A page is `open` until a lane claims it, and `done` when everybody in it has a send. */
export const PAGE_STATES = ['open', 'claimed', 'done'] as const;

/** What a person does with a broadcast, and in which states it can be done. */
export const BROADCAST_COMMANDS = {
  start: ['draft'],
  pause: ['scheduled', 'sending'],
  resume: ['paused'],
  // What waits for another attempt is ended, also after everybody had a first one.
  cancel: ['draft', 'scheduled', 'sending', 'paused', 'sent'],
} as const satisfies Record<string, readonly BroadcastState[]>;
export type BroadcastCommand = keyof typeof BROADCAST_COMMANDS;

/** Whether the command fits the state. */
export function mayBe(command: BroadcastCommand, state: BroadcastState): boolean {
  return (BROADCAST_COMMANDS[command] as readonly BroadcastState[]).includes(state);
}
