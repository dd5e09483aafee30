/** A result as a real one would be, with everything in it that a report can show; the same each time. */

import type {
  BenchLayer,
  BenchResult,
  MeasuredRun,
  Phases,
  ProcessUse,
  Run,
  ScenarioResult,
  ScenarioRow,
  TrafficPiece,
} from '../../../bench/harness/result.js';
import { randomIntegers } from '../../../demo/image/pseudo-random.js';

const MIB = 1 << 20;
const layers: BenchLayer[] = [29, 0.4, 46, 9].map((mebibytes, n) => ({
  digest: `sha256:${String(n).repeat(64)}`,
  size: Math.round(mebibytes * MIB),
}));
const converted: BenchLayer[] = layers.map(({ size }, n) => ({
  digest: `sha256:${'abcd'.charAt(n).repeat(64)}`,
  size: Math.round(size * 1.06),
}));
const indexDigest = `sha256:${'e'.repeat(64)}`;

const integers = randomIntegers('sample result');
/** From 0 to below 1. */
const random = (): number => integers(1e6) / 1e6;

const noisy = (value: number): number => value * (0.95 + 0.12 * random());

function wholePull(startMs: number, msPerMib: number): TrafficPiece[] {
  return layers.flatMap(({ digest, size }) =>
    Array.from({ length: Math.ceil(size / MIB) }, (_, n) => {
      const length = Math.min(MIB, size - n * MIB);
      const at = startMs + n * msPerMib;
      return { digest, offset: n * MIB, length, startMs: at, endMs: at + msPerMib };
    }),
  );
}

function lazyReads(
  of: BenchLayer[],
  startMs: number,
  endMs: number,
  count: number,
): TrafficPiece[] {
  return Array.from({ length: count }, (_, n) => {
    const layer = of[random() < 0.4 ? 0 : 2]!;
    const length = Math.round((0.2 + random()) * MIB);
    const at = startMs + ((endMs - startMs) * n) / count;
    const offset = Math.floor(random() * (layer.size - length));
    return { digest: layer.digest, offset, length, startMs: at, endMs: at + 20 };
  });
}

const program = (name: string, pss: number, cpuMs: number): ProcessUse => ({
  name,
  peakPssBytes: pss * MIB,
  peakRssBytes: pss * MIB * 1.3,
  cpuMs,
});

function start(
  round: number,
  phases: Phases,
  pieces: TrafficPiece[],
  processes: ProcessUse[],
): Run {
  const noise = noisy(1);
  const { resolve, index, fetch, run } = phases;
  const times = {
    resolve: resolve * noise,
    index: index * noise,
    fetch: fetch * noise,
    run: run * noise,
  };
  return {
    round,
    ms: times.resolve + times.index + times.fetch + times.run,
    phases: times,
    traffic: {
      requests: 6 + pieces.length,
      bytes: 6000 + pieces.reduce((sum, { length }) => sum + length, 0),
      pieces,
    },
    processes,
  };
}

const rounds = [1, 2, 3, 4, 5];

function coldStart(): ScenarioResult {
  const containerd = program('containerd', 48, 2100);
  const rows: ScenarioRow[] = [
    {
      contestant: 'overlayfs',
      runs: rounds.map((round) =>
        start(round, { resolve: 46, index: 0, fetch: 7650, run: 540 }, wholePull(46, 160), [
          containerd,
          program('containerd-shim-runc-v2', 9, 60),
          program('short-lived programs', 0, 180),
        ]),
      ),
    },
    {
      contestant: 'siphon-streamed',
      runs: rounds.map((round) =>
        start(round, { resolve: 40, index: 0, fetch: 3350, run: 610 }, wholePull(40, 70), [
          program('siphon', 104, 1500),
          containerd,
          program('siphon-keeper', 1.7, 10),
        ]),
      ),
    },
    {
      contestant: 'siphon-indexed',
      preparation: { what: 'index', ms: 1430, bytes: 1.9 * MIB },
      runs: rounds.map((round) =>
        start(
          round,
          { resolve: 42, index: 190, fetch: 25, run: 930 },
          [
            { digest: indexDigest, offset: 0, length: 1.9 * MIB, startMs: 50, endMs: 190 },
            ...lazyReads(layers, 260, 1150, 24),
          ],
          [program('siphon', 92, 610), containerd, program('siphon-keeper', 1.7, 10)],
        ),
      ),
    },
    {
      contestant: 'stargz',
      preparation: { what: 'conversion', ms: 21_400, bytes: 90 * MIB },
      layers: converted,
      runs: rounds.map((round): Run =>
        round === 4
          ? { round, errors: ['layer sha256:222222222222 was unpacked, expected lazy'] }
          : start(
              round,
              { resolve: 44, index: 320, fetch: 0, run: 1720 },
              lazyReads(converted, 380, 2050, 60),
              [program('containerd-stargz-grpc', 71, 1100), containerd],
            ),
      ),
    },
    {
      contestant: 'fuse-overlayfs',
      skipped: 'the image needs devices, which rootless podman lacks',
      runs: [],
    },
  ];
  return {
    name: 'cold-start',
    title: 'Cold pull and start',
    description:
      'Nothing of the image is here and caches are dropped. From the command until the program prints its ready line.',
    image: 'node',
    link: { roundTripMs: 10, mbitPerSecond: 100 },
    baseline: 'overlayfs',
    rows,
  };
}

function randomReads(): ScenarioResult {
  const slowness = {
    overlayfs: 0.09,
    'siphon-streamed': 0.24,
    'siphon-indexed': 0.31,
    stargz: 0.9,
  };
  const rows = Object.entries(slowness).map(([contestant, ms]): ScenarioRow => ({
    contestant,
    runs: rounds.map((round): MeasuredRun => {
      const latencies = Array.from({ length: 400 }, () =>
        random() < 0.03 ? ms * 60 * (0.5 + random()) : ms * (0.3 + random() ** 2 * 3),
      );
      return { round, ms: latencies.reduce((sum, one) => sum + one, 0), latencies };
    }),
  }));
  return {
    name: 'random-reads',
    title: 'Random reads',
    description: '400 reads of 4 KiB at places far apart in one large file, caches dropped.',
    image: 'node',
    amount: { count: 400, unit: 'reads' },
    baseline: 'overlayfs',
    rows,
  };
}

function metadataWalk(): ScenarioResult {
  const times = { overlayfs: 467, 'siphon-streamed': 334, 'siphon-indexed': 338, stargz: 760 };
  return {
    name: 'metadata-walk',
    title: 'Metadata walk <find & stat>',
    description: 'find -printf over the whole tree, everything here, caches dropped.',
    image: 'node',
    amount: { count: 40_400, unit: 'entries' },
    baseline: 'overlayfs',
    rows: Object.entries(times).map(([contestant, ms]) => ({
      contestant,
      runs: rounds.map((round) => ({ round, ms: noisy(ms) })),
    })),
  };
}

export function sampleResult(): BenchResult {
  const taking = (name: string, title: string, versions: Record<string, string>) => ({
    name,
    title,
    versions,
  });
  return {
    version: 1,
    command: 'siphon bench --images node --rounds 5',
    startedAt: '2026-11-21T17:00:00.000Z',
    finishedAt: '2026-11-21T17:09:00.000Z',
    unfinished: 'it was interrupted',
    environment: {
      siphon: '0.1.0',
      node: '20.20.0',
      kernel: '6.18.44',
      system: 'Debian GNU/Linux 12 (bookworm)',
      processor: 'Intel(R) Xeon(R) Processor',
      processors: 2,
      memoryBytes: 24 * 1024 * MIB,
      fileSystem: 'ext4',
      loadBefore: 0.31,
      loadAfter: 2.4,
    },
    contestants: [
      taking('overlayfs', 'containerd, overlayfs', { containerd: '1.6.20', runc: '1.1.5' }),
      taking('siphon-streamed', 'siphon, streamed', { siphon: '0.1.0', containerd: '1.6.20' }),
      taking('siphon-indexed', 'siphon, indexed', { siphon: '0.1.0', containerd: '1.6.20' }),
      taking('stargz', 'stargz-snapshotter', { 'containerd-stargz-grpc': '0.12.1' }),
      taking('fuse-overlayfs', 'podman, fuse-overlayfs', { podman: '4.3.1' }),
      {
        ...taking('soci', 'SOCI', {}),
        skipped: 'no soci-snapshotter-grpc on the path, expected there or named with --soci',
      },
    ],
    images: [{ name: 'node', title: 'Node with a large node_modules', layers }],
    scenarios: [coldStart(), randomReads(), metadataWalk()],
    troubles: ['unpack of image "node": no space left on device'],
  };
}
