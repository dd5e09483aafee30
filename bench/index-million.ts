/**
 * What a layer of a million entries costs.
 *
 *     npm run build && node dist/bench/index-million.js [--entries N] [--per-folder N] [--folder DIR]
 *
 * Builds the index of a gzip layer of small files, 100 to a folder or as many as are asked for, half of them with long names, and prints
 * how far the process grew above what it was when idle; then, each in a process of its own, how long opening
 * takes, and a look-up of a name in its folder, which is what the kernel asks. Needs 500 MB in the temporary
 * folder.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createGzip } from 'node:zlib';
import { buildIndex } from '#src/index/build-index.js';
import { LayerIndex, rootIno } from '#src/index/layer-index.js';
import { printFigures } from './harness/figures.js';
import { singleBench, summary } from './harness/single-bench.js';

const BLOCK = 512;
const LOOKUPS = 200_000;
const OPENINGS = 21;

const { values } = parseArgs({
  options: {
    entries: { type: 'string', default: '1000000' },
    'per-folder': { type: 'string', default: '100' },
    folder: { type: 'string', default: tmpdir() },
    look: { type: 'string' },
  },
});

const perFolder = Number(values['per-folder']);

if (values.look === undefined) await singleBench(values.folder, build);
else look(values.look);

async function build(directory: string): Promise<void> {
  const output = join(directory, 'index.db');
  // Whatever is loaded once is loaded before the process counts as idle.
  await buildIndex(layer(1000), { output });
  await delay(1000);
  const idle = residentBytes('VmRSS');
  const most = peakWhile();
  const started = performance.now();
  const { entryCount } = await buildIndex(layer(Number(values.entries)), { output });
  const seconds = (performance.now() - started) / 1000;
  const grown = Math.max(most() - idle, 0);
  console.log(
    `${entryCount} entries in ${seconds.toFixed(1)} s, the packing of the layer included`,
  );
  console.log(
    `memory above idle: ${Math.round(grown / 2 ** 20)} MB of ${Math.round(idle / 2 ** 20)}`,
  );
  console.log(`index: ${(statSync(output).size / 2 ** 20).toFixed(1)} MiB`);
  printFigures({ 'memory, MB': grown / 2 ** 20 });
  process.stdout.write(
    execFileSync(
      process.execPath,
      [process.argv[1] ?? '', '--look', output, '--per-folder', String(perFolder)],
      {
        encoding: 'utf8',
      },
    ),
  );
}

/** Of this process, in bytes. */
function residentBytes(field: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync('/proc/self/status', 'latin1');
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) * 1024;
}

/** Looks at the memory twenty times a second; @returns what ends that and gives the most it saw */
function peakWhile(): () => number {
  let most = 0;
  const timer = setInterval(() => (most = Math.max(most, residentBytes('VmRSS'))), 50);
  return () => {
    clearInterval(timer);
    return Math.max(most, residentBytes('VmRSS'));
  };
}

/** A gzip layer of `entries` entries; the folders count. */
function layer(entries: number): AsyncIterable<Uint8Array> {
  const gzip = createGzip({ level: 1 });
  void pack(gzip, entries);
  return gzip;
}

async function pack(to: NodeJS.WritableStream, entries: number): Promise<void> {
  for (let n = 0; n < entries; n++) {
    const piece = n % perFolder === 0 ? header(folderOf(n), '5', 0) : fileBytes(n);
    if (!to.write(piece)) await new Promise((resolve) => to.once('drain', resolve));
  }
  to.end(Buffer.alloc(2 * BLOCK));
}

function folderOf(n: number): string {
  return `folder-${Math.floor(n / perFolder)}`;
}

function nameOf(n: number): string {
  return n % 2 === 0 ? `f${n}` : `a-file-whose-name-is-somewhat-longer-${n}.txt`;
}

function fileBytes(n: number): Buffer {
  const content = Buffer.alloc(BLOCK);
  content.writeUInt32LE(n);
  return Buffer.concat([header(`${folderOf(n)}/${nameOf(n)}`, '0', 100), content]);
}

function header(path: string, type: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number): void => {
    block.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
  };
  block.write(path, 0, 'latin1');
  octal(0o755, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(1_700_000_000, 136, 12);
  block.write(`        ${type}`, 148, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}

function look(path: string): void {
  const openings = Array.from({ length: OPENINGS }, () => {
    const started = performance.now();
    LayerIndex.open(path).close();
    return performance.now() - started;
  });
  console.log(
    `opening: ${openings[0]?.toFixed(2)} ms the first time, ${summary(openings).median.toFixed(2)} ms then`,
  );
  printFigures({ 'opening, ms': summary(openings).median });
  using index = LayerIndex.open(path);
  const { entryCount } = index.info;
  for (const [how, next] of [
    ['in order', (n: number) => n % entryCount],
    ['at random', () => Math.floor(Math.random() * entryCount)],
  ] as const) {
    const micros = lookups(index, next);
    console.log(`look-up, ${how}: ${micros.toFixed(2)} µs`);
    printFigures({ [`look-up ${how}, µs`]: micros });
  }
}

/** Microseconds of one look-up of a name in its folder. */
function lookups(index: LayerIndex, next: (n: number) => number): number {
  const folders = new Map<string, number>();
  let spent = 0;
  for (let n = 0; n < LOOKUPS; n++) {
    const entry = next(n);
    if (entry % perFolder === 0) continue;
    const folder = folderOf(entry);
    const ino = folders.get(folder) ?? index.lookup(rootIno, Buffer.from(folder))?.ino ?? 0;
    folders.set(folder, ino);
    const name = Buffer.from(nameOf(entry));
    const started = performance.now();
    const found = index.lookup(ino, name);
    spent += performance.now() - started;
    if (found === undefined) throw new Error(`${folder}/${nameOf(entry)} is not there`);
  }
  return (spent * 1000) / LOOKUPS;
}
