/**
 * How fast a layer is indexed, against inflating it and no more.
 *
 *     npm run build && node dist/bench/index-build.js [--rounds N] [--folder DIR] [--source DIR | --layer FILE]
 *
 * Packs a folder of this machine (default /usr) as one gzip layer, or takes a layer, and, in turns, runs `gzip -dc` on it and
 * builds its index: inflating, hashing blob, tar and spans, parsing, storing. Then the same with two layers
 * at once. Ratios are taken within a round; what is printed is the least time and the median ratio, by the
 * clock and by processor time, and the index's share of the tar. Needs 4 GB in the temporary folder.
 */

import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { FileBlob } from '#src/common/file-blob.js';
import { blockReader } from '#src/index/block-reader.js';
import { buildIndex } from '#src/index/build-index.js';
import type { ExpectedLayer, LayerInfo } from '#src/index/layer-index.js';
import { printFigures } from './harness/figures.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: tmpdir() },
    source: { type: 'string', default: '/usr' },
    layer: { type: 'string' },
  },
});

interface Cost {
  /** Processor seconds of all threads. */
  cpu: number;
  /** Seconds that passed. */
  wall: number;
}

/** Both sides, one after the other. */
interface Round {
  inflated: Cost;
  built: Cost;
}

const run = promisify(execFile);
const directory = mkdtempSync(join(values.folder, 'siphon-measure-'));
try {
  await measure();
} finally {
  rmSync(directory, { recursive: true });
}

async function measure(): Promise<void> {
  const layer = values.layer ?? pack(values.source);
  // What a registry says of a layer beforehand.
  const first = await build(layer, 1, {});
  const { blobDigest, blobSize, diffId, tarSize } = first.info;
  const expected = { blobDigest, blobSize, diffId };
  console.log(`tar of ${Math.round(tarSize / 1e6)} MB; ${values.rounds} rounds`);
  for (const layers of [1, 2]) {
    const rounds: Round[] = [];
    for (let round = 0; round < Number(values.rounds); round += 1) {
      const inflated = await inflate(layer, layers);
      rounds.push({ inflated, built: (await build(layer, layers, expected)).cost });
    }
    report(tarSize, layers, rounds);
  }
  const share = statSync(indexPath(0)).size / tarSize;
  console.log(`index: ${(100 * share).toFixed(2)} % of the tar`);
  printFigures({ 'index share': share });
}

function pack(source: string): string {
  const layer = join(directory, 'layer.tar.gz');
  execFileSync('sh', ['-c', 'tar -C "$1" -cf - . | gzip -6 > "$2"', 'sh', source, layer]);
  return layer;
}

/** Times of `gzip -dc` for as many processes as `layers`. */
async function inflate(layer: string, layers: number): Promise<Cost> {
  const script = `for i in $(seq "$1"); do gzip -dc "$2" > /dev/null & done; wait; times`;
  const started = performance.now();
  const { stdout } = await run('bash', ['-c', script, 'bash', String(layers), layer]);
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
  layer: string,
  layers: number,
  expected: ExpectedLayer,
): Promise<{ cost: Cost; info: LayerInfo }> {
  const blob = await FileBlob.open(layer);
  const { signal } = new AbortController();
  const started = performance.now();
  const before = process.cpuUsage();
  const [info] = await Promise.all(
    Array.from({ length: layers }, (_, number) => {
      rmSync(indexPath(number), { force: true });
      const input = blockReader(blob, signal) ?? blob.stream(signal);
      return buildIndex(input, { output: indexPath(number), expected });
    }),
  );
  const { user, system } = process.cpuUsage(before);
  const wall = (performance.now() - started) / 1000;
  await blob.close();
  if (info === undefined) throw new Error('No layer was given');
  return { cost: { cpu: (user + system) / 1e6, wall }, info };
}

function indexPath(number: number): string {
  return join(directory, `index-${number}.db`);
}

function report(tarSize: number, layers: number, rounds: readonly Round[]): void {
  const rate = (wall: number): string => `${Math.round((layers * tarSize) / 1e6 / wall)} MB/s`;
  const row = (name: string, costs: readonly Cost[]): string => {
    const [cpu, wall] = [least(costs, 'cpu'), least(costs, 'wall')];
    return `${name.padEnd(12)} ${cpu.toFixed(2)} s cpu  ${wall.toFixed(2)} s  ${rate(wall)}`;
  };
  const ratio = (of: keyof Cost): number =>
    median(rounds.map(({ inflated, built }) => inflated[of] / built[of]));
  const times = (of: keyof Cost): string => ratio(of).toFixed(2);
  console.log(layers === 1 ? 'one layer' : `${layers} layers at once`);
  console.log(
    `  ${row(
      'gzip -dc',
      rounds.map(({ inflated }) => inflated),
    )}`,
  );
  console.log(
    `  ${row(
      'index build',
      rounds.map(({ built }) => built),
    )}`,
  );
  console.log(
    `  as fast as gzip -dc, times: ${times('wall')} by the clock, ${times('cpu')} by processor time`,
  );
  printFigures({ [`${layers} at once, times gzip`]: ratio('wall') });
}

function least(costs: readonly Cost[], of: keyof Cost): number {
  return Math.min(...costs.map((cost) => cost[of]));
}

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}
