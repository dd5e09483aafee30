/**
 * What a slow and distant registry costs: siphon beside `curl` on the same link.
 *
 *     npm run build && node dist/bench/registry-link.js [--round-trips 10,100] [--mbit 100] [--size MIB] [--reads N]
 *
 * The link is a network namespace with a token bucket (tc tbf) towards it, and a proxy in front of the
 * registry that holds back what goes either way for half a round trip, and a whole one for a connection's
 * beginning. On it, for each round trip: curl fetches the layer's blob whole, and siphon reads the one large
 * file of a fresh mount in order; then siphon reads 4 KiB at places far apart on another fresh mount, and curl
 * fetches the ranges of the same spans over one connection, with a first request before the clock starts on
 * either side; at last 64 processes read one place that is missing. Index and mount are not measured. Needs root,
 * curl, iproute2 and util-linux.
 */

import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { LayerIndex } from '#src/index/layer-index.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type Entry, file, noise } from '../demo/image/entry.js';
import { writeLayout } from '../demo/image/write-layout.js';

const { values } = parseArgs({
  options: {
    'round-trips': { type: 'string', default: '10,100' },
    mbit: { type: 'string', default: '100' },
    size: { type: 'string', default: '192' },
    reads: { type: 'string', default: '20' },
  },
});

const MIB = 1 << 20;
/** Most bytes that are on their way, beyond which the sender waits. */
const IN_FLIGHT = 8 * MIB;
const fileSize = Number(values.size) * MIB;
const reads = Number(values.reads);
/** Of the addresses for benchmarks (RFC 2544), other ones in each process. */
const network = `198.18.${(process.pid >> 6) & 255}.`;
const [OUTSIDE, INSIDE] = [1, 2].map((n) => `${network}${(process.pid & 63) * 4 + n}`);
const name = `siphon${process.pid}`;
const siphonProgram = fileURLToPath(new URL('../../bin/siphon', import.meta.url));
const run = promisify(execFile);
const directory = mkdtempSync(join(tmpdir(), 'siphon-link-'));

interface Link {
  /** What a registry is called on it. */
  host: string;
  counts: { requests: number; bytes: number };
  close(): void;
}

interface Layer {
  digest: string;
  size: number;
}

process.once('exit', () => {
  for (const command of [`ip link del ${name}`, `ip netns del ${name}`]) attempt(command);
  rmSync(directory, { recursive: true });
});
makeNamespace();
await measureAll();

async function measureAll(): Promise<void> {
  const layout = join(directory, 'layout');
  const { layers } = await writeLayout({
    layout,
    tag: 'latest',
    layers: [{ title: 'data', entries: entries() }],
    process: {},
  });
  const [layer] = layers;
  if (layer === undefined) throw new Error('Cannot measure: no layer was written');
  const build = siphonArgs('index', 'build', '--push', `oci:${layout}:latest`);
  execFileSync(process.execPath, build, { stdio: 'ignore' });
  const registry = await serveLayout({ layout });
  for (const roundTrip of values['round-trips'].split(',').map(Number)) {
    const link = await openLink(registry.port, roundTrip);
    try {
      console.log(`\n${roundTrip} ms, ${values.mbit} Mbit/s, a blob of ${megabytes(layer.size)}`);
      await measureSequential(link, layer);
      await measureRandom(link, layer);
      await measureShared(link);
    } finally {
      link.close();
    }
  }
  await registry.close();
}

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
  const curl = await timed(() => onLink('curl', '-sf', '-o', '/dev/null', url));
  await usingMount(link, async (folder) => {
    const before = { ...link.counts };
    const siphon = await timed(() => run('dd', [`if=${folder}/data`, 'of=/dev/null', 'bs=1M']));
    const bytes = link.counts.bytes - before.bytes;
    const rate = (time: number) => ((layer.size * 8) / time / 1000).toFixed(1);
    print('in order', {
      'curl, Mbit/s': rate(curl),
      'siphon, Mbit/s': rate(siphon),
      'of the link': percent((layer.size * 8) / siphon / 1000 / Number(values.mbit)),
      'of curl': percent(curl / siphon),
      requests: link.counts.requests - before.requests,
      'bytes, of the blob': percent(bytes / layer.size),
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
    const before = link.counts.requests;
    const siphon = await timed(async () => {
      for (const place of places.slice(1)) await at(place);
    });
    const requests = link.counts.requests - before;
    await handle.close();
    const curl = await curlRanges(blobUrl(link, layer), ranges);
    print('4 KiB, here and there', {
      'curl, ms each': (curl / reads).toFixed(0),
      'siphon, ms each': (siphon / reads).toFixed(0),
      'of curl': percent(siphon / curl),
      'round trips each': (requests / reads).toFixed(2),
    });
  });
}

/** Milliseconds for all ranges but the first, over one connection. */
async function curlRanges(url: string, ranges: readonly string[]): Promise<number> {
  const config = join(directory, 'ranges');
  const parts = ranges.map(
    (range) =>
      `url = "${url}"\nrange = "${range}"\noutput = "/dev/null"\nwrite-out = "%{time_total}\\n"\n`,
  );
  writeFileSync(config, parts.join('next\n'));
  const { stdout } = await onLink('curl', '-sf', '-K', config);
  const times = stdout.trim().split('\n').map(Number);
  return times.slice(1).reduce((sum, time) => sum + time * 1000, 0);
}

async function measureShared(link: Link): Promise<void> {
  await usingMount(link, async (folder) => {
    const before = link.counts.requests;
    const skip = Math.floor(fileSize / 4096 / 2);
    const reader = [`if=${folder}/data`, 'of=/dev/null', 'bs=4k', 'count=1', `skip=${skip}`];
    await Promise.all(Array.from({ length: 64 }, () => run('dd', reader)));
    print('64 readers of one place', { requests: link.counts.requests - before });
  });
}

/** Mounts on a fresh root, with nothing in the cache. */
async function usingMount(
  link: Link,
  work: (folder: string, index: LayerIndex) => Promise<void>,
): Promise<void> {
  const root = mkdtempSync(join(directory, 'root-'));
  const folder = join(root, 'mount');
  mkdirSync(folder);
  const source = `${link.host}/app:latest`;
  await onLink(
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

function siphonArgs(...args: string[]): string[] {
  return [siphonProgram, '--root', join(directory, 'root'), ...args];
}

/** Runs a program at the far end. */
function onLink(program: string, ...args: string[]): Promise<{ stdout: string }> {
  return run('nsenter', [`--net=/run/netns/${name}`, program, ...args]);
}

function makeNamespace(): void {
  const inside = `nsenter --net=/run/netns/${name}`;
  for (const command of [
    `ip netns add ${name}`,
    `ip link add ${name} type veth peer name far netns ${name}`,
    `ip addr add ${OUTSIDE}/30 dev ${name}`,
    `ip link set ${name} up`,
    `${inside} ip addr add ${INSIDE}/30 dev far`,
    `${inside} ip link set far up`,
    `${inside} ip link set lo up`,
    `tc qdisc add dev ${name} root tbf rate ${values.mbit}mbit burst 128kb latency 50ms`,
  ])
    execute(command);
}

/** A way to a server of this machine that takes `roundTrip` ms. */
async function openLink(port: number, roundTrip: number): Promise<Link> {
  const counts = { requests: 0, bytes: 0 };
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    near.on('data', (chunk) => {
      if (chunk.subarray(0, 4).toString('latin1') === 'GET ') counts.requests += 1;
    });
    far.on('data', (chunk) => (counts.bytes += chunk.length));
    delay(near, far, roundTrip / 2, roundTrip);
    delay(far, near, roundTrip / 2, 0);
  });
  await new Promise<void>((resolve) => server.listen(0, OUTSIDE, resolve));
  return { host: hostOf(server), counts, close: () => server.close() };
}

function hostOf(server: Server): string {
  return `${OUTSIDE}:${(server.address() as AddressInfo).port}`;
}

/** Hands on what `from` sends, each piece `time` ms after it came, the first ones `begin` ms later still. */
function delay(from: Socket, to: Socket, time: number, begin: number): void {
  const opened = performance.now() + begin;
  let held = 0;
  const later = (action: () => void) =>
    setTimeout(action, Math.max(time, opened + time - performance.now()));
  from.on('data', (chunk) => {
    held += chunk.length;
    if (held > IN_FLIGHT) from.pause();
    later(() => {
      to.write(chunk, () => {
        held -= chunk.length;
        if (held <= IN_FLIGHT) from.resume();
      });
    });
  });
  from.on('end', () => later(() => to.end()));
  for (const event of ['error', 'close']) from.on(event, () => later(() => to.destroy()));
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

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
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

function execute(command: string): void {
  const [program = '', ...args] = command.split(' ');
  execFileSync(program, args);
}

function attempt(command: string): void {
  try {
    execute(command);
  } catch {
    // It was not made.
  }
}
