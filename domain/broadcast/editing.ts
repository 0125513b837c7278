import type { BroadcastState } from './words.ts';

/** What can be changed of a broadcast. */
export type BroadcastField = 'name' | 'emailId' | 'audience' | 'perMinute' | 'startAt';

/**
 * What can still be changed: everything of a draft but its time, which it gets when it is started; then what it goes by,
 * until it is over. Its email is fixed when it is started, and who it goes to had better be what was looked at then.
 *
 * @param waits whether it was started and its time has not come
 */
export function whileIn(state: BroadcastState, waits: boolean): readonly BroadcastField[] {
  switch (state) {
    case 'draft':
      return ['name', 'emailId', 'audience', 'perMinute'];
    case 'scheduled':
    case 'sending':
    case 'paused':
      return waits ? ['name', 'perMinute', 'startAt'] : ['name', 'perMinute'];
    case 'sent':
    case 'cancelled':
      return [];
  }
}
