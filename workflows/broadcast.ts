import {
  CancellationScope,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  isCancellation,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { BroadcastActivities, LaneResult, StepResult } from '../activities/broadcast/activities.ts';
import type { BroadcastState } from '../domain/broadcast/words.ts';
import { TASK_QUEUES } from '../domain/processes.ts';

/** Somebody paused, resumed or cancelled the broadcast through the API; it is committed already. */
export const wakeBroadcast = defineSignal('wakeBroadcast');
/** Holds the broadcast back; these three are for people at the Temporal UI. */
export const pauseBroadcast = defineSignal('pause');
export const resumeBroadcast = defineSignal('resume');
/** Ends the broadcast and what waits of it. */
export const cancelBroadcast = defineSignal('cancel');
/** What the broadcast does at present. */
export const broadcastProgress = defineQuery<BroadcastProgress>('progress');

export interface BroadcastWorkflowInput {
  readonly broadcastId: string;
  /** Which workflow run of the broadcast this is: 1, or more after its workflow was lost. */
  readonly run: number;
}

export interface BroadcastProgress {
  readonly doing: StepResult['kind'];
  /** Pages that were not done when it was last looked. */
  readonly pagesLeft: number | null;
  /** Until when it waits, in milliseconds of the epoch. */
  readonly until: number | null;
}

type Command = 'pause' | 'resume' | 'cancel';

/** Lanes that work side by side, on as many workers as there are. */
const LANES = 4;

const { stepOfBroadcast, commandBroadcast } = proxyActivities<BroadcastActivities>({
  // One short transaction, which may wait for the gates that have begun.
  startToCloseTimeout: '1 minute',
  // Only faults throw (database down, worker lost), and they pass: never give up.
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

const { prepareBroadcast } = proxyActivities<BroadcastActivities>({
  taskQueue: TASK_QUEUES.broadcastPages,
  // Some ten thousand recipients a second.
  startToCloseTimeout: '2 hours',
  // The activity beats every 5 s: three beats missed and its worker is taken for dead.
  heartbeatTimeout: '20 seconds',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

const { sendPages } = proxyActivities<BroadcastActivities>({
  taskQueue: TASK_QUEUES.broadcastPages,
  // A minute of pages, and the longest conversation that may be under way then (RFC 5321 section 4.5.3.2).
  startToCloseTimeout: '1 hour',
  heartbeatTimeout: '20 seconds',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

/**
 * One broadcast: it waits for its time, has its recipients written down, and sends them page by page in a few lanes. Who
 * soft-bounces gets a workflow of their own. Everything that is known of it is in the database, so this stays small
 * whatever its size.
 */
export async function broadcast(
  input: BroadcastWorkflowInput,
): Promise<{ state: BroadcastState | 'superseded' }> {
  const { broadcastId, run } = input;
  const orders = listen();
  let progress: BroadcastProgress = { doing: 'wait', pagesLeft: null, until: null };
  setHandler(broadcastProgress, () => progress);
  const show = (next: BroadcastProgress) => {
    progress = next;
    setCurrentDetails(detailsOf(next));
  };

  for (;;) {
    await orders.carryOut((command) => commandBroadcast({ broadcastId, run, now: Date.now(), command }));
    const step = await shielded(() => stepOfBroadcast({ broadcastId, run, now: Date.now() }));
    show({
      doing: step.kind,
      pagesLeft: step.kind === 'send' ? step.pages : null,
      until: step.kind === 'wait' ? step.until : null,
    });
    switch (step.kind) {
      case 'over':
        return { state: step.state };
      case 'wait':
        await orders.orTime(step.until);
        break;
      case 'paused':
        await orders.orTime(null);
        break;
      case 'prepare':
        await shielded(() => prepareBroadcast({ broadcastId, run, now: Date.now() }));
        break;
      case 'send': {
        const until = await sendInLanes(step.pages);
        if (until === null) break;
        show({ doing: 'wait', pagesLeft: step.pages, until });
        await orders.orTime(until);
      }
    }
    // Never with an order that is not carried out yet: it is not in the input.
    if (workflowInfo().continueAsNewSuggested && !orders.pending) {
      await continueAsNew<typeof broadcast>(input);
    }
  }

  /** A lane whose time is over goes on by itself: no other one has to wait for its slowest conversation. */
  async function sendInLane(lane: number): Promise<LaneResult> {
    for (;;) {
      const end = await shielded(() => sendPages({ broadcastId, run, now: Date.now(), lane }));
      const mayGoOn = end.kind === 'more' && patched(LANES_GO_ON);
      if (!mayGoOn || orders.pending || workflowInfo().continueAsNewSuggested) return end;
      show({ ...progress, pagesLeft: end.pagesLeft });
    }
  }

  /** @returns until when nothing can leave, where every lane says so; orders are carried out meanwhile */
  async function sendInLanes(pages: number): Promise<number | null> {
    const lanes = Array.from({ length: Math.min(LANES, pages) }, (_, lane) => sendInLane(lane));
    let ends: LaneResult[] | null = null;
    const all = Promise.all(lanes).then((results) => {
      ends = results;
    });
    for (;;) {
      await shielded(() => condition(() => ends !== null || orders.pending));
      if (ends !== null) break;
      // The lanes stop by themselves: their gates find the broadcast paused or cancelled.
      await orders.carryOut((command) => commandBroadcast({ broadcastId, run, now: Date.now(), command }));
    }
    await all;
    const waits = (ends as LaneResult[]).flatMap((end) => (end.kind === 'wait' ? [end.until] : []));
    return waits.length === 0 ? null : Math.min(...waits);
  }
}

const LANES_GO_ON = 'lanes-go-on';

/** What goes on ends as it ends: a cancellation of the workflow is an order like the others. */
function shielded<T>(work: () => Promise<T>): Promise<T> {
  return CancellationScope.nonCancellable(work);
}

interface Orders {
  readonly pending: boolean;
  carryOut(one: (command: Command) => Promise<void>): Promise<void>;
  /** Waits for an order, a change that was made outside, or the time. */
  orTime(at: number | null): Promise<void>;
}

/** Hears the signals from the first moment on, and a cancellation of the workflow like the signal `cancel`. */
function listen(): Orders {
  const commands: Command[] = [];
  let woken = false;
  setHandler(wakeBroadcast, () => {
    woken = true;
  });
  setHandler(pauseBroadcast, () => void commands.push('pause'));
  setHandler(resumeBroadcast, () => void commands.push('resume'));
  setHandler(cancelBroadcast, () => void commands.push('cancel'));
  CancellationScope.current().cancelRequested.catch((error: unknown) => {
    if (!isCancellation(error)) throw error;
    commands.push('cancel');
  });
  return {
    get pending() {
      return commands.length > 0;
    },
    async carryOut(one) {
      for (let command = commands.shift(); command !== undefined; command = commands.shift()) {
        const given = command;
        await shielded(() => one(given));
      }
    },
    async orTime(at) {
      const wakes = () => woken || commands.length > 0;
      await shielded(async () => {
        if (at === null) await condition(wakes);
        else await condition(wakes, Math.max(0, at - Date.now()));
      });
      woken = false;
    },
  };
}

/** Markdown, as the Temporal UI renders it. */
function detailsOf({ doing, pagesLeft, until }: BroadcastProgress): string {
  const left = pagesLeft === null ? '' : `${pagesLeft} pages left`;
  const wait = until === null ? '' : `until ${new Date(until).toISOString()}`;
  return [doing, left, wait].filter(Boolean).join(', ');
}
