import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks a second of `/proc` (`getconf CLK_TCK`): 100 wherever Linux runs. */
const TICKS_A_SECOND = 100;

/** What a process and its descendants have used so far, in seconds, those that have ended included; 0 where there is no `/proc`. */
export function processorSeconds(pid: number): number {
  let ticks = 0;
  const children = childrenByParent();
  const wanted = [pid];
  for (let one = wanted.pop(); one !== undefined; one = wanted.pop()) {
    ticks += ticksOf(one);
    wanted.push(...(children.get(one) ?? []));
  }
  return ticks / TICKS_A_SECOND;
}

function childrenByParent(): Map<number, number[]> {
  const children = new Map<number, number[]>();
  for (const pid of pids()) {
    const fields = statOf(pid);
    const parent = Number(fields?.[1]);
    if (fields !== null) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  return children;
}

/** proc_pid_stat(5), fields 14 to 17: user and system time, its own and that of children it has waited for. */
function ticksOf(pid: number): number {
  const fields = statOf(pid);
  return fields === null ? 0 : fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
}

function pids(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

/** Fields from the state on, behind the name, which may have spaces. */
function statOf(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}
