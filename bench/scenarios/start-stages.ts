/**
 * What is measured of a contestant that starts containers, one stage after the other on one installation: the first
 * start of an image that nothing is here of, the next start of the same, and the first start of another image
 * that shares layers with it.
 */

import { once } from 'node:events';
import { dropCaches } from '../harness/caches.js';
import type { Installation, StartContestant } from '../harness/contestant.js';
import type { PublishedImage } from '../harness/published-image.js';
import type { FailedRun, MeasuredRun } from '../harness/result.js';
import { validRun } from '../harness/rounds.js';
import { startPhases } from '../harness/start-phases.js';
import type { ProcessGroup } from '../meters/process-group.js';
import { withProcessMeter } from '../harness/with-process-meter.js';
import { type Ready, startUntilReady } from '../meters/ready.js';
import type { TrafficMeter } from '../meters/traffic-meter.js';

/** An image and how to tell that its program is ready. */
export interface StartImage {
  image: PublishedImage;
  ready: RegExp;
  /** The program ends by itself, with exit code 0, once it is ready. */
  ends: boolean;
  command?: readonly string[];
}

export interface Stage {
  /** `HOST:PORT` of the registry, by way of the meter. */
  host: string;
  meter: TrafficMeter;
  group: ProcessGroup;
  installation: Installation;
  contestant: StartContestant;
  round: number;
}

/** ms that a program may take until it is ready. */
const READY_TIMEOUT = 120_000;
/** ms that one which ends by itself may take for that. */
const END_TIMEOUT = 30_000;
let containers = 0;

/** Pull and start with the kernel's caches dropped. */
export async function coldStart(stage: Stage, start: StartImage): Promise<MeasuredRun | FailedRun> {
  await dropCaches();
  return measureStart(stage, start, true);
}

/** Start of what is here; the kernel's caches are as the starts before left them. */
export function warmStart(stage: Stage, start: StartImage): Promise<MeasuredRun | FailedRun> {
  return measureStart(stage, start, false);
}

async function measureStart(
  stage: Stage,
  start: StartImage,
  pulls: boolean,
): Promise<MeasuredRun | FailedRun> {
  const { installation, meter, group, round } = stage;
  const reference = `${stage.host}/${start.image.path}`;
  const id = containerId();
  const { value, processes } = await withProcessMeter(group, async () => {
    const begin = performance.now();
    meter.start(begin);
    if (pulls) await installation.pull(reference);
    const mountedMs = pulls ? performance.now() - begin : 0;
    const command = installation.runCommand(reference, { id, ...withCommand(start) });
    const ready = await startUntilReady(command, start.ready, READY_TIMEOUT);
    return { ready, times: { mountedMs, readyMs: performance.now() - begin } };
  });
  const { log, ...traffic } = meter.read();
  const { ready, times } = value;
  const objections = await endContainer(installation, { id, ready, ends: start.ends });
  objections.push(...(await installation.objections(start.image)));
  const phases = startPhases(times, { log, pieces: traffic.pieces }, start.image);
  return validRun({ round, ms: times.readyMs, phases, traffic, processes }, objections);
}

export function containerId(): string {
  containers += 1;
  return `bench-${process.pid}-${containers}`;
}

export function withCommand({ command }: StartImage): { command?: readonly string[] } {
  return command === undefined ? {} : { command };
}

/** Lets a container end, or ends it. @returns what is wrong with how it ended */
export async function endContainer(
  installation: Installation,
  { id, ready, ends }: { id: string; ready: Ready; ends: boolean },
): Promise<string[]> {
  const { child } = ready;
  const exited = once(child, 'close', { signal: AbortSignal.timeout(END_TIMEOUT) });
  // It may end by itself meanwhile; one that cannot be ended is noticed by the wait.
  if (child.exitCode === null && !ends) await installation.kill(id).catch(() => undefined);
  if (child.exitCode === null) await exited;
  else exited.catch(() => undefined);
  return ends && child.exitCode !== 0 ? [`its program ended with ${child.exitCode}`] : [];
}
