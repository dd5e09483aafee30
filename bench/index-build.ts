/**
 * How fast a layer is indexed, against inflating it and no more.
 *
 *     npm run build && node dist/bench/index-build.js [--rounds N] [--folder DIR] [--source DIR]
 *
 * Packs a folder of this machine (default /usr) as one gzip layer and, in turns, runs
 * `gzip -dc` on it and builds its index: inflating, hashing blob, tar and spans, parsing, storing. Prints
 * the least of all rounds in processor seconds and in seconds, the ratio, and the index's share of the
 * tar. Needs 3 GB in the temporary folder.
 */

import { execFileSync } from 'node:child_process';
import { createReadStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildIndex } from '#src/index/build-index.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: tmpdir() },
    source: { type: 'string', default: '/usr' },
  },
});

interface Cost {
  /** Processor seconds of all threads. */
  cpu: number;
  /** Seconds that passed. */
  wall: number;
}

const directory = mkdtempSync(join(values.folder, 'siphon-measure-'));
try {
  await measure();
} finally {
  rmSync(directory, { recursive: true });
}

async function measure(): Promise<void> {
  const layer = join(directory, 'layer.tar.gz');
  execFileSync('sh', ['-c', 'tar -C "$1" -cf - . | gzip -6 > "$2"', 'sh', values.source, layer]);
  const output = join(directory, 'index.db');
  const inflating: Cost[] = [];
  const building: Cost[] = [];
  let tarSize = 0;
  for (let round = 0; round < Number(values.rounds); round += 1) {
    inflating.push(inflate(layer));
    const { cost, size } = await build(layer, output);
    building.push(cost);
    tarSize = size;
  }
  report(tarSize, statSync(output).size, least(inflating), least(building));
}

function inflate(layer: string): Cost {
  const started = performance.now();
  const timed = `import os,subprocess;subprocess.run(['gzip','-dc',${JSON.stringify(layer)}],stdout=subprocess.DEVNULL);t=os.times();print(t.children_user+t.children_system)`;
  const cpu = Number(execFileSync('python3', ['-c', timed], { encoding: 'utf8' }));
  return { cpu, wall: (performance.now() - started) / 1000 };
}

async function build(layer: string, output: string): Promise<{ cost: Cost; size: number }> {
  rmSync(output, { force: true });
  const started = performance.now();
  const before = process.cpuUsage();
  const { tarSize } = await buildIndex(createReadStream(layer, { highWaterMark: 1 << 20 }), {
    output,
  });
  const { user, system } = process.cpuUsage(before);
  const wall = (performance.now() - started) / 1000;
  return { cost: { cpu: (user + system) / 1e6, wall }, size: tarSize };
}

function least(costs: readonly Cost[]): Cost {
  return {
    cpu: Math.min(...costs.map(({ cpu }) => cpu)),
    wall: Math.min(...costs.map(({ wall }) => wall)),
  };
}

function report(tarSize: number, indexSize: number, inflated: Cost, built: Cost): void {
  const rate = (cost: Cost): string => `${Math.round(tarSize / 1e6 / cost.wall)} MB/s`;
  const row = (name: string, cost: Cost): string =>
    `${name.padEnd(12)} ${cost.cpu.toFixed(2)} s cpu  ${cost.wall.toFixed(2)} s  ${rate(cost)}`;
  console.log(`tar of ${Math.round(tarSize / 1e6)} MB; least of ${values.rounds} rounds`);
  console.log(row('gzip -dc', inflated));
  console.log(row('index build', built));
  console.log(
    `as fast as gzip -dc, times: ${(inflated.wall / built.wall).toFixed(2)} by the clock, ${(inflated.cpu / built.cpu).toFixed(2)} by processor time`,
  );
  console.log(`index: ${((100 * indexSize) / tarSize).toFixed(2)} % of the tar`);
}
