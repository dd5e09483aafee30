/**
 * `npm run bench:gate`: the short set of benchmarks, each with the bounds that it has to keep.
 *
 *     npm run build && node dist/bench/gate.js [NAME...] [--cache DIR]
 *
 * The names are those of `bench/gates.json`, `starts` and `demo`; default: all. Each benchmark's verdicts are told when
 * it is over, and all of them at the end. One that fails breaks its bounds, and the others go on. Exit code 1 where a
 * bound is broken, 2 for a wrong name. Bounds of time are for a machine that does nothing else.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { formatTable } from '#src/cli/format.js';
import { onInterrupt } from '#src/cli/interruption.js';
import { errorMessage } from '#src/common/errors.js';
import { DEFAULT_CACHE } from './harness/cache-folder.js';
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
import { formatResult } from './report/terminal-table.js';
import { formatMs } from './report/units.js';

/** Milliseconds that one start may take. */
const TURN_TIMEOUT = 120_000;

/** One benchmark with its bounds. */
interface Gate {
  name: string;
  judge(): Promise<Verdict[]>;
}

const { values, positionals } = parseArgs({
  options: { cache: { type: 'string', default: DEFAULT_CACHE } },
  allowPositionals: true,
});
const signal = onInterrupt();
const gates = gatesOf(parseGates(await readFile(inTree('bench/gates.json'), 'utf8')));
const unknown = positionals.filter((name) => !gates.some((gate) => gate.name === name));
if (unknown.length === 0) process.exitCode = await judgeAll();
else {
  const names = gates.map(({ name }) => name).join(', ');
  process.stderr.write(`Cannot judge "${unknown.join(' ')}": expected some of ${names}\n`);
  process.exitCode = 2;
}

/** @returns the exit code */
async function judgeAll(): Promise<number> {
  const wanted = gates.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const verdicts: Verdict[] = [];
  for (const [n, gate] of wanted.entries()) {
    if (signal.aborted) break;
    process.stdout.write(`\n[${n + 1}/${wanted.length}] ${gate.name}\n`);
    const begin = performance.now();
    const found = await gate.judge();
    process.stdout.write(`\n${table(found)}(${formatMs(performance.now() - begin)})\n`);
    verdicts.push(...found);
  }
  if (wanted.length > 1) process.stdout.write(`\nAll gates\n${table(verdicts)}`);
  if (signal.aborted) return 130;
  return verdicts.every(({ holds }) => holds) ? 0 : 1;
}

function gatesOf({ benchmarks, starts, demo }: GatesFile): Gate[] {
  return [
    ...benchmarks.map((benchmark) => ({
      name: benchmark.name,
      judge: () => judgeBenchmark(benchmark),
    })),
    { name: 'starts', judge: () => judgeOwnStarts(starts) },
    { name: 'demo', judge: async () => [await judgeDemo(demo)] },
  ];
}

async function judgeBenchmark(benchmark: GatesFile['benchmarks'][number]): Promise<Verdict[]> {
  const words = benchmark.arguments.map((word) => (word === '$CACHE' ? values.cache : word));
  const { output } = await run(inTree(`dist/bench/${benchmark.name}.js`), words);
  return judgeFigures(benchmark.gates, parseFigures(output));
}

async function judgeOwnStarts(starts: GatesFile['starts']): Promise<Verdict[]> {
  const { rounds, contestants, image } = starts;
  try {
    const result = await runBench({
      command: 'npm run bench:gate -- starts',
      images: ownImages().filter(({ name }) => name === image),
      scenarios: ['starts'],
      contestants,
      rounds,
      turnTimeout: TURN_TIMEOUT,
      cache: values.cache,
      programs: new Map(),
      signal,
    });
    process.stdout.write(formatResult(result));
    return judgeStarts(starts.gates, result);
  } catch (error) {
    process.stderr.write(`${errorMessage(error)}\n`);
    return judgeStarts(starts.gates, undefined);
  }
}

async function judgeDemo({ what }: GatesFile['demo']): Promise<Verdict> {
  const { code } = await run(inTree('dist/demo/main.js'), []);
  return { what, value: code, bound: 'exit code 0', holds: code === 0 };
}

/** Runs a program of ours to its end and shows what it prints; whoever is to end hears of it. */
async function run(
  program: string,
  words: readonly string[],
): Promise<{ code: number; output: string }> {
  const child = spawn(process.execPath, ['--enable-source-maps', program, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const interrupt = (): void => void child.kill('SIGINT');
  signal.addEventListener('abort', interrupt);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    process.stdout.write(text);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  signal.removeEventListener('abort', interrupt);
  return { code: code ?? 1, output };
}

function table(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(({ what, value, bound, holds }) => [
    holds ? 'holds' : 'BROKEN',
    what,
    Number.isNaN(value) ? 'not measured' : String(Math.round(value * 1000) / 1000),
    bound,
  ]);
  return formatTable(['', 'gate', 'measured', 'bound'], rows);
}

/** A path in the source tree; this file runs from `dist/bench`. */
function inTree(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
