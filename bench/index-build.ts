/**
 * How fast a layer is indexed, against inflating it and no more.
 *
 *     npm run build && node dist/bench/index-build.js [--rounds N] [--cache DIR | --layer FILE] [--folder DIR]
 *
 * Takes a gzip layer, by default the largest of the benchmark's image `python`, and, in turns, runs `gzip -dc` on it and
 * builds its index: inflating, hashing blob, tar and spans, parsing, storing. Then the same with two layers
 * at once. Ratios are taken within a round; what is printed is medians, by the clock and by processor time, the processors
 * that were busy, the index's share of the tar, and how many spans' worth is inflated for 4 KiB at random of a
 * blob that is here. Needs 2 GB in the temporary folder.
 */

import { execFile } from 'node:child_process';
import { rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { FileBlob } from '#src/common/file-blob.js';
import { blockReader } from '#src/index/block-reader.js';
import { buildIndex } from '#src/index/build-index.js';
import { type ExpectedLayer, LayerIndex, type LayerInfo } from '#src/index/layer-index.js';
import { SpanCache } from '#src/index/span-cache.js';
import { SpanReader } from '#src/index/span-reader.js';
import { DEFAULT_CACHE } from './harness/cache-folder.js';
import { printFigures } from './harness/figures.js';
import { type CompareOptions, compareSides, singleBench, summary } from './harness/single-bench.js';
import { buildImage } from './images/build-image.js';
import type { ImagePlan } from './images/image-plan.js';
import { layerBlobs } from './images/layer-blobs.js';
import { python } from './images/python.js';

const RANDOM_READS = 40;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: tmpdir() },
    cache: { type: 'string', default: DEFAULT_CACHE },
    layer: { type: 'string' },
  },
});

interface Cost {
  /** Processor seconds of all threads. */
  cpu: number;
  /** Seconds that passed. */
  wall: number;
}

const run = promisify(execFile);

await singleBench(values.folder, async (directory, signal) => {
  const layer = values.layer ?? (await largestLayer(python, resolve(values.cache), signal));
  const indexPath = (number: number): string => join(directory, `index-${number}.db`);
  // What a registry says of a layer beforehand.
  const { info } = await build({ layer, indexPaths: [indexPath(0)], expected: {} }, signal);
  const { blobDigest, blobSize, diffId, tarSize } = info;
  const expected = { blobDigest, blobSize, diffId };
  const options = { rounds: Number(values.rounds), signal };
  console.log(`tar of ${Math.round(tarSize / 1e6)} MB; ${options.rounds} rounds, medians`);
  for (const indexPaths of [[indexPath(0)], [indexPath(0), indexPath(1)]])
    await compare({ layer, indexPaths, expected }, tarSize, options);
  const share = statSync(indexPath(0)).size / tarSize;
  const inflated = await readAtRandom(layer, indexPath(0), join(directory, 'cache'));
  console.log(`index: ${(100 * share).toFixed(2)} % of the tar`);
  console.log(`inflated for 4 KiB at random: ${inflated.toFixed(2)} of a span`);
  printFigures({ 'index share': share, 'spans inflated for 4 KiB': inflated });
});

async function largestLayer(plan: ImagePlan, cache: string, signal: AbortSignal): Promise<string> {
  const layout = await buildImage(plan, { cache, signal, onStep: (what) => console.log(what) });
  const [largest] = (await layerBlobs(layout)).toSorted((a, b) => b.size - a.size);
  if (largest === undefined) throw new Error(`Cannot index image "${plan.name}": it has no layers`);
  return largest.path;
}

interface Building {
  layer: string;
  /** As many layers at once. */
  indexPaths: readonly string[];
  expected: ExpectedLayer;
}

async function compare(
  building: Building,
  tarSize: number,
  options: CompareOptions,
): Promise<void> {
  const layers = building.indexPaths.length;
  const costs = { gzip: [] as Cost[], index: [] as Cost[] };
  const { ratio } = await compareSides(['index', 'gzip'], options, async (side) => {
    const cost =
      side === 'gzip'
        ? await inflate(building.layer, layers, options.signal)
        : (await build(building, options.signal)).cost;
    costs[side].push(cost);
    return cost.wall;
  });
  const median = (of: readonly Cost[], pick: (cost: Cost) => number): number =>
    summary(of.map(pick)).median;
  const row = (name: string, of: readonly Cost[]): string => {
    const wall = median(of, (cost) => cost.wall);
    const cpu = median(of, (cost) => cost.cpu);
    const rate = Math.round((layers * tarSize) / 1e6 / wall);
    return `  ${name.padEnd(12)} ${cpu.toFixed(2)} s cpu  ${wall.toFixed(2)} s  ${rate} MB/s`;
  };
  const byProcessor = median(costs.gzip, ({ cpu }) => cpu) / median(costs.index, ({ cpu }) => cpu);
  const busy = median(costs.index, ({ cpu, wall }) => cpu / wall);
  console.log(layers === 1 ? 'one layer' : `${layers} layers at once`);
  console.log(row('gzip -dc', costs.gzip));
  console.log(row('index build', costs.index));
  console.log(
    `  as fast as gzip -dc, times: ${ratio.median.toFixed(2)} (${ratio.least.toFixed(2)}-${ratio.greatest.toFixed(2)}) by the clock, ` +
      `${byProcessor.toFixed(2)} by processor time; processors busy: ${busy.toFixed(2)}`,
  );
  printFigures({
    [`${layers} at once, times gzip`]: ratio.median,
    [`${layers} at once, processors busy`]: busy,
  });
}

/** `gzip -dc` in as many processes as `layers`. */
async function inflate(layer: string, layers: number, signal: AbortSignal): Promise<Cost> {
  const script = `for i in $(seq "$1"); do gzip -dc "$2" > /dev/null & done; wait; times`;
  const started = performance.now();
  const { stdout } = await run('bash', ['-c', script, 'bash', String(layers), layer], { signal });
  const wall = (performance.now() - started) / 1000;
  // The second line of `times` is about the children: user and system, as 0m1.234s.
  const [user, system] = (stdout.split('\n')[1] ?? '').split(' ').map(secondsOf);
  return { cpu: (user ?? 0) + (system ?? 0), wall };
}

function secondsOf(text: string): number {
  const [, minutes, seconds] = /(\d+)m([\d.]+)s/.exec(text) ?? [];
  return Number(minutes) * 60 + Number(seconds);
}

async function build(
  { layer, indexPaths, expected }: Building,
  signal: AbortSignal,
): Promise<{ cost: Cost; info: LayerInfo }> {
  const blob = await FileBlob.open(layer);
  for (const path of indexPaths) rmSync(path, { force: true });
  const started = performance.now();
  const before = process.cpuUsage();
  const [info] = await Promise.all(
    indexPaths.map((output) => {
      const input = blockReader(blob, signal) ?? blob.stream(signal);
      return buildIndex(input, { output, expected });
    }),
  );
  const { user, system } = process.cpuUsage(before);
  const wall = (performance.now() - started) / 1000;
  await blob.close();
  if (info === undefined) throw new Error('No layer was given');
  return { cost: { cpu: (user + system) / 1e6, wall }, info };
}

/** @returns what is inflated for the span that a read needs, of that span's bytes, at most */
async function readAtRandom(layer: string, indexPath: string, cachePath: string): Promise<number> {
  using index = LayerIndex.open(indexPath);
  const cache = SpanCache.open(cachePath, index.spanBounds);
  const reader = new SpanReader({ index, cache, source: await FileBlob.open(layer) });
  let most = 0;
  for (let n = 1; n <= RANDOM_READS; n += 1) {
    // Far apart, so that nobody takes it for reading in order.
    const span = Math.floor((n * index.info.spanCount) / (RANDOM_READS + 1));
    const before = reader.decodedBytes;
    await reader.ensure(span, span, new AbortController().signal);
    most = Math.max(most, (reader.decodedBytes - before) / index.span(span).tarLength);
  }
  await reader.close();
  cache.close();
  return most;
}
