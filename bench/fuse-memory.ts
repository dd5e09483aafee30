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
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { SnapshotsClient } from '#src/generated/containerd/services/snapshots/v1/snapshots.js';
import { statusSocket } from '#src/monitor/monitor-server.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type Entry, directory as folder, file, noise } from '../demo/image/entry.js';
import { writeLayout } from '../demo/image/write-layout.js';
import { printFigures } from './harness/figures.js';

const folders = 400;
const filesPerFolder = 100;
const prefix = 'containerd.io/snapshot';
const siphon = fileURLToPath(new URL('../../bin/siphon', import.meta.url));

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '10' },
    large: { type: 'string', default: '64' },
    cache: { type: 'string', default: '400' },
    folder: { type: 'string', default: tmpdir() },
  },
});

const run = promisify(execFile);
const directory = mkdtempSync(join(values.folder, 'siphon-measure-'));
const address = join(directory, 'siphon.sock');
const root = join(directory, 'root');
try {
  const service = await startService();
  try {
    await measure(service);
  } finally {
    service.kill('SIGTERM');
    if (service.exitCode === null) await once(service, 'exit');
  }
} finally {
  rmSync(directory, { recursive: true });
}

async function startService(): Promise<ChildProcess> {
  const config = join(directory, 'siphon.toml');
  writeFileSync(config, `cache_size = ${Number(values.cache) * 2 ** 20}\n`);
  const args = [siphon, '--root', root, 'serve', '--address', address, '--config', config];
  const service = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  while (!existsSync(address)) {
    if (service.exitCode !== null) throw new Error('siphon serve does not start');
    await delay(50);
  }
  await delay(2000);
  return service;
}

async function measure(service: ChildProcess): Promise<void> {
  const keeper = service.pid ?? 0;
  report('no image', keeper);
  for (let number = 1; number <= Number(values.images); number += 1) await prepareImage(number);
  await delay(5000);
  report(`${values.images} images mounted`, keeper);
  for (let round = 1; round <= Number(values.rounds); round += 1) {
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    const script =
      'find "$1" -printf %s > /dev/null; printf "%s\\0" "$1"/*/[0-4]?/* "$1"/*/large | xargs -0 cat > /dev/null';
    await run('bash', ['-ec', script, 'work', join(root, 'fuse')]);
    report(`round ${round}`, keeper, await effort());
  }
}

/** Makes an image of one layer and has it prepared; the blob is drawn whole, since nothing has indexed it. */
async function prepareImage(number: number): Promise<void> {
  const layout = join(directory, `layout-${number}`);
  const plan = { title: 'files', entries: entriesOf(number) };
  const image = await writeLayout({ layout, tag: 'latest', layers: [plan], process: {} });
  const [layer] = image.layers;
  if (layer === undefined) throw new Error('the image has no layer');
  const registry = await serveLayout({ layout });
  try {
    await prepare(`key-${number}`, {
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
async function prepare(key: string, labels: Record<string, string>): Promise<void> {
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
async function effort(): Promise<string> {
  const metrics = await askMetrics();
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

function askMetrics(): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ socketPath: statusSocket(root), path: '/metrics' }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      response.once('end', () => resolve(text)).once('error', reject);
    }).once('error', reject);
  });
}

function report(when: string, keeper: number, done = ''): void {
  const children = readFileSync(`/proc/${keeper}/task/${keeper}/children`, 'utf8');
  const servers = children.split(' ').filter((pid) => pid.trim() !== '');
  const server = servers.reduce((sum, pid) => sum + residentOf(pid), 0);
  const all = server + residentOf(String(keeper));
  console.log(`${when.padEnd(20)} ${(all / 1024).toFixed(0)} MiB  ${done}`.trimEnd());
  printFigures({ [when]: all / 1024 });
}

/** In KiB. */
function residentOf(pid: string): number {
  return Number(/VmRSS:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
