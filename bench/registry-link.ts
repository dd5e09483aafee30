/**
 * What a slow and distant registry costs: siphon beside `curl` on the same link.
 *
 *     npm run build && node dist/bench/registry-link.js [--round-trips 10,100] [--mbit 100] [--size MIB] [--reads N]
 *
 * The link is that of `meters/network.ts`. On it, for each round trip: curl fetches the layer's blob whole, and siphon reads the one large
 * file of a fresh mount in order; then siphon reads 4 KiB at places far apart on another fresh mount, and curl
 * fetches the ranges of the same spans over one connection, with a first request before the clock starts on
 * either side; at last 64 processes read one place that is missing. Index and mount are not measured. Needs root,
 * curl, iproute2 and util-linux.
 */

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { LayerIndex } from '#src/index/layer-index.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type Entry, file, noise } from '../demo/image/entry.js';
import { writeLayout } from '../demo/image/write-layout.js';
import { printFigures } from './harness/figures.js';
import { singleBench, timed } from './harness/single-bench.js';
import { type Network, openNetwork } from './meters/network.js';
import { type TrafficMeter, startTrafficMeter } from './meters/traffic-meter.js';
import { siphonProgram } from './programs/siphon-program.js';

const { values } = parseArgs({
  options: {
    'round-trips': { type: 'string', default: '10,100' },
    mbit: { type: 'string', default: '100' },
    size: { type: 'string', default: '192' },
    reads: { type: 'string', default: '20' },
  },
});

const MIB = 1 << 20;
const fileSize = Number(values.size) * MIB;
const reads = Number(values.reads);
const run = promisify(execFile);

interface Link {
  /** For all that is made. */
  directory: string;
  network: Network;
  /** What the registry is called on it. */
  host: string;
  /** ms */
  roundTrip: number;
  traffic: TrafficMeter;
}

interface Layer {
  digest: string;
  size: number;
}

await singleBench(tmpdir(), async (directory, signal) => {
  await using network = await openNetwork(Number(values.mbit));
  const layout = join(directory, 'layout');
  const { layers } = await writeLayout({
    layout,
    tag: 'latest',
    layers: [{ title: 'data', entries: entries() }],
    process: {},
  });
  const [layer] = layers;
  if (layer === undefined) throw new Error('Cannot measure: no layer was written');
  const build = ['--root', join(directory, 'root'), 'index', 'build', '--push'];
  await run(process.execPath, [siphonProgram, ...build, `oci:${layout}:latest`], { signal });
  const registry = await serveLayout({ layout });
  await using traffic = await startTrafficMeter(registry.host);
  for (const roundTrip of values['round-trips'].split(',').map(Number)) {
    await using way = await network.link(traffic.port, roundTrip);
    const link = { directory, network, host: way.host, roundTrip, traffic };
    console.log(`\n${roundTrip} ms, ${values.mbit} Mbit/s, a blob of ${megabytes(layer.size)}`);
    for (const measure of [measureSequential, measureRandom, measureShared]) {
      signal.throwIfAborted();
      await measure(link, layer);
    }
  }
  await registry.close();
});

/** One large file that compresses to about half. */
function entries(): Entry[] {
  const bytes = noise('link', fileSize);
  async function* nibbles(): AsyncGenerator<Buffer> {
    for await (const chunk of bytes.read())
      yield Buffer.from(chunk).map((byte) => byte & 15) as Buffer;
  }
  return [file('data', { size: fileSize, read: nibbles })];
}

async function measureSequential(link: Link, layer: Layer): Promise<void> {
  const url = blobUrl(link, layer);
  const curl = await timed(() => onLink(link, 'curl', '-sf', '-o', '/dev/null', url));
  await usingMount(link, async (folder) => {
    link.traffic.start();
    const siphon = await timed(() => run('dd', [`if=${folder}/data`, 'of=/dev/null', 'bs=1M']));
    const { requests, bytes } = link.traffic.read();
    const rate = (time: number) => ((layer.size * 8) / time / 1000).toFixed(1);
    print('in order', {
      'curl, Mbit/s': rate(curl),
      'siphon, Mbit/s': rate(siphon),
      'of the link': percent((layer.size * 8) / siphon / 1000 / Number(values.mbit)),
      'of curl': percent(curl / siphon),
      requests,
      'bytes, of the blob': percent(bytes / layer.size),
    });
    printFigures({
      [`${link.roundTrip} ms, of the link`]: (layer.size * 8) / siphon / 1000 / Number(values.mbit),
      [`${link.roundTrip} ms, bytes of the blob`]: bytes / layer.size,
    });
  });
}

async function measureRandom(link: Link, layer: Layer): Promise<void> {
  await usingMount(link, async (folder, index) => {
    const handle = await open(`${folder}/data`);
    const data = index.segments(2, 0, 1)[0];
    if (data?.kind !== 'data')
      throw new Error('Cannot measure: the file is not where it should be');
    const places = shuffled(reads + 1).map(
      (n) => Math.floor((n * fileSize) / (reads + 1)) + 4096 * 64,
    );
    const ranges = places.map((place) => {
      const { blobOffset, blobLength } = index.span(index.spanAt(data.tarOffset + place));
      return `${blobOffset}-${blobOffset + blobLength - 1}`;
    });
    const at = async (place: number) => {
      await handle.read(Buffer.alloc(4096), 0, 4096, place);
    };
    await at(places[0] ?? 0);
    link.traffic.start();
    const siphon = await timed(async () => {
      for (const place of places.slice(1)) await at(place);
    });
    const { requests } = link.traffic.read();
    await handle.close();
    const curl = await curlRanges(link, blobUrl(link, layer), ranges);
    print('4 KiB, here and there', {
      'curl, ms each': (curl / reads).toFixed(0),
      'siphon, ms each': (siphon / reads).toFixed(0),
      'of curl': percent(siphon / curl),
      'round trips each': (requests / reads).toFixed(2),
    });
    printFigures({
      [`${link.roundTrip} ms, round trips each`]: requests / reads,
      [`${link.roundTrip} ms, of curl's ranges`]: siphon / curl,
    });
  });
}

/** Milliseconds for all ranges but the first, over one connection. */
async function curlRanges(link: Link, url: string, ranges: readonly string[]): Promise<number> {
  const config = join(link.directory, 'ranges');
  const parts = ranges.map(
    (range) =>
      `url = "${url}"\nrange = "${range}"\noutput = "/dev/null"\nwrite-out = "%{time_total}\\n"\n`,
  );
  writeFileSync(config, parts.join('next\n'));
  const { stdout } = await onLink(link, 'curl', '-sf', '-K', config);
  const times = stdout.trim().split('\n').map(Number);
  return times.slice(1).reduce((sum, time) => sum + time * 1000, 0);
}

async function measureShared(link: Link): Promise<void> {
  await usingMount(link, async (folder) => {
    link.traffic.start();
    const skip = Math.floor(fileSize / 4096 / 2);
    const reader = [`if=${folder}/data`, 'of=/dev/null', 'bs=4k', 'count=1', `skip=${skip}`];
    await Promise.all(Array.from({ length: 64 }, () => run('dd', reader)));
    const { requests } = link.traffic.read();
    print('64 readers of one place', { requests });
    printFigures({ [`${link.roundTrip} ms, requests of 64 readers`]: requests });
  });
}

/** Mounts on a fresh root, with nothing in the cache. */
async function usingMount(
  link: Link,
  work: (folder: string, index: LayerIndex) => Promise<void>,
): Promise<void> {
  const root = mkdtempSync(join(link.directory, 'root-'));
  const folder = join(root, 'mount');
  mkdirSync(folder);
  const source = `${link.host}/app:latest`;
  await onLink(
    link,
    process.execPath,
    siphonProgram,
    '--root',
    root,
    '--plain-http',
    'mount',
    source,
    folder,
  );
  const index = LayerIndex.open(join(root, 'layers', '1', 'index.db'));
  try {
    await work(folder, index);
  } finally {
    index.close();
    await run(process.execPath, [siphonProgram, '--root', root, 'umount', folder]);
  }
}

/** Runs a program at the far end. */
function onLink({ network }: Link, ...command: string[]): Promise<{ stdout: string }> {
  const [enter, ...args] = [...network.enter, ...command];
  return run(enter, args);
}

function blobUrl(link: Link, { digest }: Layer): string {
  return `http://${link.host}/v2/app/blobs/${digest}`;
}

/** 0 to `count - 1` in an order that is the same each time and goes neither up nor down. */
function shuffled(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n).sort((a, b) => mixed(a) - mixed(b));
}

function mixed(n: number): number {
  return ((n + 1) * 2_654_435_761) % 4_294_967_296;
}

function print(what: string, numbers: Record<string, string | number>): void {
  const text = Object.entries(numbers).map(([key, value]) => `${key}: ${value}`);
  console.log(`${what.padEnd(24)} ${text.join('  ')}`);
}

function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)} %`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
