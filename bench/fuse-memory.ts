/**
 * How much memory serving takes: ten images of 40,400 entries and a large file, walked and read again and again.
 *
 *     npm run build && node dist/bench/fuse-memory.js [--images N] [--rounds N] [--large MIB] [--cache MIB] [--folder DIR]
 *
 * `siphon serve` prepares the images from a registry that has no indexes, as containerd asks for it. Each round
 * walks every layer and reads 5,000 of its small files and the large one with the kernel's caches dropped, so that
 * all of it reaches the server. The span caches may take less than the large files do (`cache_size`), so that spans go
 * and come back, inflated anew from the blobs that are kept, while others are read. Prints what the keeper and the server
 * have resident, together: before the first image, with all of them there, and after each round, with the requests and bytes that
 * the server has answered by then and the bytes that it gave up. Needs root, 4 GB in the temporary folder, and a built `dist`.
 */

import { Metadata, credentials, status } from '@grpc/grpc-js';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { SnapshotsClient } from '#src/generated/containerd/services/snapshots/v1/snapshots.js';
import { statusSocket } from '#src/monitor/monitor-server.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type Entry, directory as folder, file, noise } from '../demo/image/entry.js';
import { writeLayout } from '../demo/image/write-layout.js';
import { dropCaches } from './harness/caches.js';
import { printFigures } from './harness/figures.js';
import { singleBench } from './harness/single-bench.js';
import { endProgram } from './programs/end-program.js';
import { execute } from './programs/execute.js';
import { siphonProgram } from './programs/siphon-program.js';

const folders = 400;
const filesPerFolder = 100;
const prefix = 'containerd.io/snapshot';

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '10' },
    large: { type: 'string', default: '64' },
    cache: { type: 'string', default: '400' },
    folder: { type: 'string', default: tmpdir() },
  },
});

/** Where everything lies. */
interface Place {
  directory: string;
  /** Of the service's socket. */
  address: string;
  root: string;
  signal: AbortSignal;
}

await singleBench(values.folder, async (directory, signal) => {
  const [address, root] = [join(directory, 'siphon.sock'), join(directory, 'root')];
  const place = { directory, address, root, signal };
  const service = await startService(place);
  try {
    await measure(place, service.pid ?? 0);
  } finally {
    await endProgram(service);
  }
});

async function startService({ directory, address, root }: Place): Promise<ChildProcess> {
  const config = join(directory, 'siphon.toml');
  writeFileSync(config, `cache_size = ${Number(values.cache) * 2 ** 20}\n`);
  const args = [siphonProgram, '--root', root, 'serve', '--address', address, '--config', config];
  const service = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  while (!existsSync(address)) {
    if (service.exitCode !== null) throw new Error('siphon serve does not start');
    await delay(50);
  }
  await delay(2000);
  return service;
}

async function measure(place: Place, keeper: number): Promise<void> {
  const { root, signal } = place;
  report('no image', keeper);
  for (let number = 1; number <= Number(values.images); number += 1) {
    signal.throwIfAborted();
    await prepareImage(place, number);
  }
  await delay(15_000); // Threads that indexed have gone by then.
  report(`${values.images} images mounted`, keeper);
  const rounds: number[] = [];
  for (let round = 1; round <= Number(values.rounds); round += 1) {
    await dropCaches();
    const script =
      'find "$1" -printf %s > /dev/null; printf "%s\\0" "$1"/*/[0-4]?/* "$1"/*/large | xargs -0 cat > /dev/null';
    await execute('bash', ['-ec', script, 'work', join(root, 'fuse')], { signal });
    rounds.push(report(`round ${round}`, keeper, await effort(root)));
  }
  const [first = Number.NaN, last = Number.NaN] = [rounds[0], rounds.at(-1)];
  printFigures({ 'last round': last, 'last round beyond the first': last - first });
}

/** Makes an image of one layer and has it prepared; the blob is drawn whole, since nothing has indexed it. */
async function prepareImage(place: Place, number: number): Promise<void> {
  const layout = join(place.directory, `layout-${number}`);
  const plan = { title: 'files', entries: entriesOf(number) };
  const image = await writeLayout({ layout, tag: 'latest', layers: [plan], process: {} });
  const [layer] = image.layers;
  if (layer === undefined) throw new Error('the image has no layer');
  const registry = await serveLayout({ layout });
  try {
    await prepare(place.address, `key-${number}`, {
      [`${prefix}.ref`]: `chain-${number}`,
      [`${prefix}/cri.image-ref`]: `${registry.host}/app:latest`,
      [`${prefix}/cri.layer-digest`]: layer.digest,
      [`${prefix}/cri.manifest-digest`]: image.manifest,
      [`${prefix}/cri.image-layers`]: layer.digest,
    });
  } finally {
    await registry.close();
  }
}

function* entriesOf(image: number): Generator<Entry> {
  for (let at = 0; at < folders; at += 1) {
    const path = String(at).padStart(2, '0');
    yield folder(path);
    for (let n = 0; n < filesPerFolder; n += 1)
      yield file(`${path}/module-${n}.py`, `${image} ${at} ${n}\n`);
  }
  yield file('large', noise(`large ${image}`, Number(values.large) * 2 ** 20));
}

/** Fails where the layer did not become a remote snapshot. */
async function prepare(
  address: string,
  key: string,
  labels: Record<string, string>,
): Promise<void> {
  const client = new SnapshotsClient(`unix:${address}`, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set('containerd-namespace', 'measure');
  const request = { snapshotter: '', key, parent: '', labels };
  await new Promise<void>((resolve, reject) => {
    client.prepare(request, metadata, (error) => {
      if (error?.code === status.ALREADY_EXISTS) resolve();
      else reject(new Error(`the layer is not lazy: ${error?.message ?? 'it was prepared empty'}`));
    });
  }).finally(() => client.close());
}

/** What the server says it has done so far. */
async function effort(root: string): Promise<string> {
  const metrics = await askMetrics(root);
  // What the kernel forgets is no reading.
  const total = (name: string): number =>
    [...metrics.matchAll(new RegExp(`^${name}(\\{.*\\})? (\\S+)$`, 'gm'))]
      .filter(([, labels = '']) => !labels.includes('forget'))
      .reduce((sum, [, , value]) => sum + Number(value), 0);
  const mebibytes = (name: string): string => (total(name) / 2 ** 20).toFixed(0);
  return (
    `${total('siphon_fuse_requests_total')} requests, ${mebibytes('siphon_fuse_read_bytes_total')} MiB read, ` +
    `${mebibytes('siphon_cache_evicted_bytes_total')} MiB evicted`
  );
}

function askMetrics(root: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ socketPath: statusSocket(root), path: '/metrics' }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      response.once('end', () => resolve(text)).once('error', reject);
    }).once('error', reject);
  });
}

/** @returns MiB */
function report(when: string, keeper: number, done = ''): number {
  const children = readFileSync(`/proc/${keeper}/task/${keeper}/children`, 'utf8');
  const servers = children.split(' ').filter((pid) => pid.trim() !== '');
  const server = servers.reduce((sum, pid) => sum + residentOf(pid), 0);
  const all = server + residentOf(String(keeper));
  console.log(`${when.padEnd(20)} ${(all / 1024).toFixed(0)} MiB  ${done}`.trimEnd());
  printFigures({ [when]: all / 1024 });
  return all / 1024;
}

/** In KiB. */
function residentOf(pid: string): number {
  return Number(/VmRSS:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
