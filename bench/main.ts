/** What `siphon bench` runs: the words of its command line become a benchmark, and its result is shown and kept. */

import { writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { SiphonError } from '#src/common/errors.js';
import { type ImageChoice, ownImages } from './harness/choose-images.js';
import {
  type BenchOptions,
  SCENARIO_NAMES,
  type ScenarioName,
  runBench,
} from './harness/run-bench.js';
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
  cache?: string;
  programs?: string[];
  output?: string;
  html?: string;
  json?: boolean;
  signal: AbortSignal;
}

export const DEFAULT_CACHE = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  'siphon-bench',
);

/** @throws SiphonError `usage` where a word is wrong, `cancelled`; Error where nothing can be measured */
export async function bench(words: BenchWords): Promise<void> {
  const options: BenchOptions = {
    command: ['siphon', ...process.argv.slice(2)].map(quoted).join(' '),
    images: chooseImages(words),
    scenarios: (words.scenarios ?? SCENARIO_NAMES).map(scenarioName),
    ...(words.contestants === undefined ? {} : { contestants: words.contestants }),
    rounds: positive(words.rounds),
    cache: resolve(words.cache ?? DEFAULT_CACHE),
    programs: new Map((words.programs ?? []).map(namedProgram)),
    signal: words.signal,
  };
  const result = await runBench(options).catch((cause: unknown) => {
    if (!words.signal.aborted) throw cause;
    throw new SiphonError('cancelled', 'Cannot go on with the benchmark: interrupted', { cause });
  });
  const text = `${JSON.stringify(result, undefined, 1)}\n`;
  if (words.output !== undefined) await writeFile(words.output, text);
  if (words.html !== undefined) await writeFile(words.html, formatPage(result));
  process.stdout.write(words.json === true ? text : formatResult(result));
}

function chooseImages(words: BenchWords): ImageChoice[] {
  if (words.image !== undefined) return [userImage(words.image, words)];
  const all = ownImages();
  if (words.images === undefined) return all;
  return words.images.map((name) => {
    const found = all.find((image) => image.name === name);
    if (found !== undefined) return found;
    const names = all.map((image) => image.name).join(', ');
    throw new SiphonError(
      'usage',
      `Cannot measure image "${name}": it is unknown, expected one of ${names}`,
    );
  });
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
    ready: new RegExp(expression),
    ends: false,
    from: { source },
    ...(command.length === 0 ? {} : { command }),
  };
}

function scenarioName(text: string): ScenarioName {
  const found = SCENARIO_NAMES.find((name) => name === text);
  if (found !== undefined) return found;
  const names = SCENARIO_NAMES.join(', ');
  throw new SiphonError(
    'usage',
    `Cannot measure scenario "${text}": it is unknown, expected one of ${names}`,
  );
}

function positive(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new SiphonError('usage', `Cannot measure "${text}" rounds: expected a number from 1 on`);
  return number;
}

function namedProgram(word: string): [string, string] {
  const [name = '', path] = word.split('=', 2);
  if (path === undefined)
    throw new SiphonError(
      'usage',
      `Cannot use program "${word}": it names no path, expected NAME=PATH`,
    );
  return [name, resolve(path)];
}

/** As a shell takes it for one word. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
