/** What `siphon bench` runs: the words of its command line become a benchmark, and its result is shown and kept. */

import { resolve } from 'node:path';
import { writeFileAtomic } from '#src/common/atomic-file.js';
import { SiphonError, errorMessage } from '#src/common/errors.js';
import { START_CONTESTANTS } from './contestants/all-contestants.js';
import { DEFAULT_CACHE } from './harness/cache-folder.js';
import { type ImageChoice, ownImages } from './harness/choose-images.js';
import type { BenchResult } from './harness/result.js';
import { isExecutable } from './harness/program-finder.js';
import { SCENARIO_NAMES, runBench } from './harness/run-bench.js';
import { runCounts } from './report/facts.js';
import { formatPage } from './report/page.js';
import { formatResult } from './report/terminal-table.js';

/** As the command line has them. */
export interface BenchWords {
  /** A user's own image. */
  image?: string;
  /** After `--`: the command to run in it; its last two words may be `--ready` and an expression. */
  command: readonly string[];
  ready?: string;
  images?: string[];
  scenarios?: string[];
  contestants?: string[];
  rounds: string;
  /** Seconds. */
  timeout: string;
  cache?: string;
  program?: string[];
  output?: string;
  html?: string;
  json?: boolean;
  signal: AbortSignal;
}

const STARTING = START_CONTESTANTS.map(({ name }) => name);

/**
 * Files are written anew after each run, so that what was measured is there however it ends.
 * @throws SiphonError `usage` where a word is wrong, `cancelled`, `failed-precondition` where nothing was measured
 */
export async function bench(words: BenchWords): Promise<void> {
  const { contestants, scenarios = SCENARIO_NAMES, signal } = words;
  const result = await runBench({
    command: ['siphon', ...process.argv.slice(2)].map(quoted).join(' '),
    images: chooseImages(words),
    scenarios: scenarios.map((name) => oneOf(SCENARIO_NAMES, name, 'scenario')),
    ...(contestants === undefined
      ? {}
      : { contestants: contestants.map((name) => oneOf(STARTING, name, 'contestant')) }),
    rounds: positive(words.rounds, 'rounds'),
    turnTimeout: positive(words.timeout, 'seconds') * 1000,
    cache: resolve(words.cache ?? DEFAULT_CACHE),
    programs: new Map((words.program ?? []).map(namedProgram)),
    signal,
    keep: (soFar) => keep(soFar, words),
  });
  await keep(result, words);
  process.stdout.write(words.json === true ? jsonOf(result) : formatResult(result));
  if (result.unfinished !== undefined)
    throw new SiphonError('cancelled', `Cannot go on with the benchmark: ${result.unfinished}`);
  if (runCounts(result).measured > 0) return;
  const [why = 'no run counts'] = result.troubles;
  throw new SiphonError('failed-precondition', `Cannot measure anything: ${why}`);
}

async function keep(result: BenchResult, { output, html }: BenchWords): Promise<void> {
  if (output !== undefined) await writeFileAtomic(output, jsonOf(result), { mode: 0o644 });
  if (html !== undefined) await writeFileAtomic(html, formatPage(result), { mode: 0o644 });
}

function jsonOf(result: BenchResult): string {
  return `${JSON.stringify(result, undefined, 1)}\n`;
}

function chooseImages(words: BenchWords): ImageChoice[] {
  const { image, images, ready, command } = words;
  if (image !== undefined && images !== undefined)
    throw new SiphonError(
      'usage',
      `Cannot measure image "${image}" and those of --images: expected either`,
    );
  if (image !== undefined) return [userImage(image, words)];
  if (ready !== undefined || command.length > 0)
    throw new SiphonError(
      'usage',
      'Cannot use --ready or a command: there is no image, expected IMAGE',
    );
  const all = ownImages();
  if (images === undefined) return all;
  const names = all.map(({ name }) => name);
  const chosen = images.map((name) => oneOf(names, name, 'image'));
  return all.filter(({ name }) => chosen.includes(name));
}

function userImage(image: string, words: BenchWords): ImageChoice {
  const isReady = words.command.at(-2) === '--ready';
  const command = isReady ? words.command.slice(0, -2) : words.command;
  const expression = isReady ? words.command.at(-1) : words.ready;
  if (expression === undefined)
    throw new SiphonError(
      'usage',
      `Cannot measure image "${image}": nothing tells when it is ready, expected --ready with a regular expression for a line of its output`,
    );
  const source = /^(?:docker|oci|oci-archive|docker-archive|dir):/.test(image)
    ? image
    : `docker://${image}`;
  return {
    name: image,
    title: image,
    ready: regularExpression(expression),
    ends: false,
    from: { source },
    ...(command.length === 0 ? {} : { command }),
  };
}

function regularExpression(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (cause) {
    throw new SiphonError('usage', `Cannot use --ready "${text}": ${errorMessage(cause)}`, {
      cause,
    });
  }
}

function oneOf<T extends string>(known: readonly T[], text: string, what: string): T {
  const found = known.find((name) => name === text);
  if (found !== undefined) return found;
  throw new SiphonError(
    'usage',
    `Cannot measure ${what} "${text}": it is unknown, expected one of ${known.join(', ')}`,
  );
}

function positive(text: string, what: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new SiphonError('usage', `Cannot measure "${text}" ${what}: expected a number from 1 on`);
}

function namedProgram(word: string): [string, string] {
  const [name = '', path] = word.split('=', 2);
  if (path === undefined)
    throw new SiphonError(
      'usage',
      `Cannot use program "${word}": it names no path, expected NAME=PATH`,
    );
  if (!isExecutable(path))
    throw new SiphonError(
      'usage',
      `Cannot use program "${path}": nothing to be run is there, expected a program`,
    );
  return [name, resolve(path)];
}

/** As a shell takes it for one word. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
