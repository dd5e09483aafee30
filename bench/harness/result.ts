/**
 * What a benchmark found, as it is written to JSON and as every report is made of it. It holds single runs;
 * medians, spread and ratios are worked out of them (`statistics.ts`), so that nothing here can contradict
 * itself. Times are milliseconds, sizes bytes, names those that other parts refer to.
 */

/** Grows when a reader of older files would misunderstand newer ones. */
export const RESULT_VERSION = 1;

export interface BenchResult {
  version: typeof RESULT_VERSION;
  /** What to type to repeat it. */
  command: string;
  /** ISO 8601. */
  startedAt: string;
  finishedAt: string;
  /** Why it was cut off; without it, all that was asked for is here. */
  unfinished?: string;
  environment: Environment;
  contestants: Contestant[];
  images: BenchImage[];
  scenarios: ScenarioResult[];
  /** What could not be measured at all, and why: an image that cannot be made, a scenario that failed as a whole. */
  troubles: string[];
}

/** The machine, as far as it explains numbers. */
export interface Environment {
  siphon: string;
  node: string;
  kernel: string;
  /** `PRETTY_NAME` of os-release(5). */
  system: string;
  processor: string;
  processors: number;
  memoryBytes: number;
  /** File system type of the folder that contestants store in: `ext4`. */
  fileSystem: string;
  /** Over one minute: before the first run and after the last. */
  loadBefore: number;
  loadAfter: number;
}

/** Someone who takes part, or the reason why not. */
export interface Contestant {
  name: string;
  /** For people: `siphon, streamed`. */
  title: string;
  /** Of the programs it consists of: `{ containerd: '1.6.20' }`. */
  versions: Record<string, string>;
  /** Why it does not take part. */
  skipped?: string;
}

export interface BenchImage {
  name: string;
  title: string;
  /** Bottom first; blobs as ordinary clients pull them. */
  layers: BenchLayer[];
}

export interface BenchLayer {
  digest: string;
  /** Of the blob. */
  size: number;
}

/** One scenario on one image, with everyone who takes part in it. */
export interface ScenarioResult {
  name: string;
  title: string;
  /** What is done and what is timed, in a sentence or two. */
  description: string;
  /** Of the image it works on. */
  image?: string;
  link?: LinkSpeed;
  /** What one run gets through, where a rate means something. */
  amount?: Amount;
  /** Whose runs the others' are divided by. */
  baseline: string;
  rows: ScenarioRow[];
}

/** Between contestants and registry; without one, it is the loopback interface. */
export interface LinkSpeed {
  roundTripMs: number;
  mbitPerSecond: number;
}

export interface Amount {
  count: number;
  unit: 'bytes' | 'entries' | 'reads' | 'containers';
}

/** One contestant in one scenario. */
export interface ScenarioRow {
  contestant: string;
  /** Why it has no runs here, though it takes part elsewhere. */
  skipped?: string;
  /** What had to be done to the image beforehand, and is not part of the runs. */
  preparation?: Preparation;
  /** Bottom first, where this contestant pulls other blobs than the image's own: converted ones. */
  layers?: BenchLayer[];
  /** In the order they ran. */
  runs: Run[];
}

/** Conversion or indexing of an image, once. */
export interface Preparation {
  what: 'conversion' | 'index';
  ms: number;
  /** Of what was made: the converted image's blobs, or the index. */
  bytes: number;
}

/** A run is measured or in error, never both. */
export type Run = MeasuredRun | FailedRun;

export interface FailedRun {
  /** Counts from 1. Runs of one round ran one after the other, and are what ratios are made of. */
  round: number;
  /** What was wrong: output, a fall-back, a container that was not lazy, a program that failed. */
  errors: string[];
}

export interface MeasuredRun {
  round: number;
  /** Of all that is timed; for a start, from the command to the ready line. */
  ms: number;
  /** They add up to `ms`. */
  phases?: Phases;
  traffic?: Traffic;
  /** Milliseconds of each single read (or start, where many are started), in order. */
  latencies?: number[];
  /** Of everyone whom the contestant needs, the container left out. */
  processes?: ProcessUse[];
}

/** Of a start, in this order. */
export const PHASES = ['resolve', 'index', 'fetch', 'run'] as const;
export type Phase = (typeof PHASES)[number];

/**
 * Milliseconds. `resolve`: until the manifest is known; `index`: until it is known where files lie in the layers;
 * `fetch`: until all is here that the contestant wants before it starts a container, unpacked where it unpacks;
 * `run`: from there to the ready line, with what is read meanwhile.
 */
export type Phases = Record<Phase, number>;

/** What the registry was asked for and sent. */
export interface Traffic {
  requests: number;
  /** Of bodies. */
  bytes: number;
  /** What arrived of which blob and when, in order of time. */
  pieces: TrafficPiece[];
}

/** Consecutive bytes of one blob on their way; a long body is several pieces. */
export interface TrafficPiece {
  digest: string;
  /** In the blob. */
  offset: number;
  length: number;
  /** When its first and its last byte were sent, after the run's begin. */
  startMs: number;
  endMs: number;
}

/** What a process took while a run lasted, its children included. */
export interface ProcessUse {
  /** `siphon serve`, `containerd`. */
  name: string;
  /** Proportional set size at its highest: pages shared by n processes count as 1/n. */
  peakPssBytes: number;
  /** Resident set size at its highest: shared pages count fully in each process. */
  peakRssBytes: number;
  /** Processor time, user and system. */
  cpuMs: number;
}

export function isMeasured(run: Run): run is MeasuredRun {
  return !('errors' in run);
}
