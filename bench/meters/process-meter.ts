/**
 * Memory and processor time of a group's processes, by program. Memory is looked at every so often: the resident
 * set's peak is the kernel's own record, so that nothing is missed of a process that lives at the next look; the
 * proportional set's is the highest that was seen. Processor time of programs that came and went between two
 * looks is known of all of them together.
 */

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { ProcessUse } from '../harness/result.js';
import type { ProcessGroup } from './process-group.js';

export interface ProcessMeter {
  /** Looks a last time. @returns by program, those with the most memory first */
  stop(): Promise<ProcessUse[]>;
}

/** Milliseconds between two looks. */
const INTERVAL = 100;
/** What `sysconf(_SC_CLK_TCK)` is on every Linux that Node runs on. */
const MS_PER_TICK = 10;
/** Below it, what is left of the group's processor time is rounding. */
const LEAST_LEFT_MS = 20;
/** Whose processor time was seen in the group's sum alone. */
const SHORT_LIVED = 'short-lived programs';
/** For these, the script says what it is. */
const INTERPRETER = /^(?:node|nodejs|python[\d.]*|perl|sh|dash|bash)$/;
/** The next word is the program's text. */
const INLINE = /^-[a-z]*[ce]$/;

interface SeenProcess {
  name: string;
  isAlive: boolean;
  cpuMs: number;
  /** At the first look. */
  cpuMsBefore: number;
  pssBytes: number;
  peakRssBytes: number;
}

/** Peaks count from now on. */
export async function startProcessMeter(
  group: ProcessGroup,
  interval = INTERVAL,
): Promise<ProcessMeter> {
  const cpuBefore = await group.cpuMs();
  const book = new ProcessBook();
  for (const pid of await group.members()) await forgetPeak(pid);
  await book.look(group, true);
  book.begin();
  let looks = Promise.resolve();
  let isLooking = false;
  const timer = setInterval(() => {
    if (isLooking) return;
    isLooking = true;
    looks = book.look(group).finally(() => (isLooking = false));
  }, interval);
  return {
    async stop() {
      clearInterval(timer);
      await looks;
      await book.look(group, true);
      return book.uses((await group.cpuMs()) - cpuBefore);
    },
  };
}

class ProcessBook {
  readonly #seen = new Map<number, SeenProcess>();
  readonly #peaks = new Map<string, { pss: number; rss: number }>();

  /** @param exactly processor time is known to less than a tick, for which every thread is looked at */
  async look(group: ProcessGroup, exactly = false): Promise<void> {
    const members = new Set(await group.members());
    for (const pid of members) {
      const found = await readProcess(pid);
      if (found === undefined) continue;
      const { cpuMsBefore = 0, cpuMs = 0 } = this.#seen.get(pid) ?? {};
      const ofThreads = exactly ? await threadsCpuMs(pid) : 0;
      found.cpuMs = Math.max(found.cpuMs, ofThreads, cpuMs);
      this.#seen.set(pid, { ...found, isAlive: true, cpuMsBefore });
    }
    for (const [pid, one] of this.#seen) one.isAlive = members.has(pid);
    this.#notePeaks();
  }

  /** What was taken up to here does not count. */
  begin(): void {
    for (const one of this.#seen.values()) one.cpuMsBefore = one.cpuMs;
  }

  uses(cpuMsOfAll: number): ProcessUse[] {
    const uses = [...this.#peaks].map(([name, { pss, rss }]) => {
      const all = [...this.#seen.values()].filter((one) => one.name === name);
      const cpuMs = all.reduce((sum, one) => sum + one.cpuMs - one.cpuMsBefore, 0);
      return { name, peakPssBytes: pss, peakRssBytes: rss, cpuMs };
    });
    const left = cpuMsOfAll - uses.reduce((sum, { cpuMs }) => sum + cpuMs, 0);
    if (left >= LEAST_LEFT_MS)
      uses.push({ name: SHORT_LIVED, peakPssBytes: 0, peakRssBytes: 0, cpuMs: left });
    return uses.toSorted((a, b) => b.peakPssBytes - a.peakPssBytes);
  }

  /** Of a program that runs several times at once, the sum. */
  #notePeaks(): void {
    const now = new Map<string, { pss: number; rss: number }>();
    for (const { name, isAlive, pssBytes, peakRssBytes } of this.#seen.values()) {
      if (!isAlive) continue;
      const { pss, rss } = now.get(name) ?? { pss: 0, rss: 0 };
      now.set(name, { pss: pss + pssBytes, rss: rss + peakRssBytes });
    }
    for (const [name, { pss, rss }] of now) {
      const peak = this.#peaks.get(name) ?? { pss: 0, rss: 0 };
      this.#peaks.set(name, { pss: Math.max(peak.pss, pss), rss: Math.max(peak.rss, rss) });
    }
  }
}

/** @returns `undefined` where it ended meanwhile */
async function readProcess(
  pid: number,
): Promise<Omit<SeenProcess, 'isAlive' | 'cpuMsBefore'> | undefined> {
  const read = (name: string): Promise<string> => readFile(`/proc/${pid}/${name}`, 'latin1');
  try {
    const [command, stat, status, maps] = await Promise.all(
      ['cmdline', 'stat', 'status', 'smaps_rollup'].map(read),
    );
    return {
      name: nameOf(command?.split('\0') ?? []),
      cpuMs: ticksOf(stat ?? '') * MS_PER_TICK,
      pssBytes: kibibytes(maps, 'Pss'),
      peakRssBytes: kibibytes(status, 'VmHWM'),
    };
  } catch {
    return undefined;
  }
}

/** Of the threads that run; what ended ones took is known in ticks alone. */
async function threadsCpuMs(pid: number): Promise<number> {
  const folder = `/proc/${pid}/task`;
  const threads = await readdir(folder).catch(() => []); // it ended
  const times = threads.map(async (thread) => {
    const text = await readFile(`${folder}/${thread}/schedstat`, 'latin1').catch(() => '');
    return Number(text.split(' ')[0]) / 1e6;
  });
  return (await Promise.all(times)).reduce((sum, ms) => sum + ms, 0);
}

function nameOf(command: readonly string[]): string {
  const [program = '', ...args] = command;
  const name = basename(program);
  const isScript = INTERPRETER.test(name) && !INLINE.test(args[0] ?? '');
  const script = isScript ? args.find((arg) => /^[^-].*\//.test(arg)) : undefined;
  return script === undefined ? name : basename(script);
}

/** User's and system's (proc(5), stat fields 14 and 15); the name in field 2 may hold anything. */
function ticksOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[14 - 3]) + Number(fields[15 - 3]);
}

function kibibytes(text = '', key: string): number {
  return Number(new RegExp(`^${key}:\\s*(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
}

/** Makes the kernel count the resident set's peak anew (proc(5), clear_refs). */
async function forgetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5').catch(() => undefined); // it ended
}
