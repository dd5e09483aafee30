/**
 * `npm run bench:gate`: the short set of benchmarks, each with the bounds that it has to keep.
 *
 *     npm run build && node dist/bench/gate.js [NAME...]
 *
 * The names are those of `bench/gates.json`, `starts` and `demo`; default: all. Exit code 1 where a bound is
 * broken or a benchmark fails. Bounds of time are for a machine that does nothing else.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { formatTable } from '#src/cli/format.js';
import { onInterrupt } from '#src/cli/interruption.js';
import { ownImages } from './harness/choose-images.js';
import { parseFigures } from './harness/figures.js';
import {
  type GatesFile,
  type Verdict,
  judgeFigures,
  judgeStarts,
  parseGates,
} from './harness/gates.js';
import { runBench } from './harness/run-bench.js';
import { DEFAULT_CACHE } from './main.js';

const { values, positionals } = parseArgs({
  options: { cache: { type: 'string', default: DEFAULT_CACHE } },
  allowPositionals: true,
});
const signal = onInterrupt();
const gates = parseGates(await readFile(inTree('bench/gates.json'), 'utf8'));
const verdicts: Verdict[] = [];
for (const benchmark of gates.benchmarks.filter(({ name }) => isWanted(name)))
  verdicts.push(...(await judgeBenchmark(benchmark)));
if (isWanted('starts')) verdicts.push(...(await judgeOwnStarts(gates.starts)));
if (isWanted('demo')) verdicts.push(await judgeDemo(gates.demo));
print(verdicts);
if (verdicts.length === 0 || verdicts.some(({ holds }) => !holds)) process.exitCode = 1;

function isWanted(name: string): boolean {
  return positionals.length === 0 || positionals.includes(name);
}

async function judgeBenchmark(benchmark: GatesFile['benchmarks'][number]): Promise<Verdict[]> {
  const program = inTree(`dist/bench/${benchmark.name}.js`);
  const { output } = await run(program, benchmark.arguments);
  return judgeFigures(benchmark.gates, parseFigures(output));
}

async function judgeOwnStarts(starts: GatesFile['starts']): Promise<Verdict[]> {
  const { rounds, contestants, image } = starts;
  const result = await runBench({
    command: 'npm run bench:gate',
    images: ownImages().filter(({ name }) => name === image),
    scenarios: ['starts'],
    contestants,
    rounds,
    cache: values.cache,
    programs: new Map(),
    signal,
  });
  return judgeStarts(starts.gates, result);
}

async function judgeDemo({ what }: GatesFile['demo']): Promise<Verdict> {
  const { code } = await run(inTree('dist/demo/main.js'), []);
  return { what, value: code, bound: 'exit code 0', holds: code === 0 };
}

/** Runs a program of ours to its end and shows what it prints. */
async function run(
  program: string,
  words: readonly string[],
): Promise<{ code: number; output: string }> {
  signal.throwIfAborted();
  const child = spawn(process.execPath, ['--enable-source-maps', program, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    process.stdout.write(text);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  signal.throwIfAborted();
  return { code: code ?? 1, output };
}

function print(all: readonly Verdict[]): void {
  const rows = all.map(({ what, value, bound, holds }) => [
    holds ? 'holds' : 'BROKEN',
    what,
    Number.isNaN(value) ? 'not measured' : String(Math.round(value * 1000) / 1000),
    bound,
  ]);
  process.stdout.write(`\n${formatTable(['', 'gate', 'measured', 'bound'], rows)}`);
}

/** A path in the source tree; this file runs from `dist/bench`. */
function inTree(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
