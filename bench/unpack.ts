/**
 * How long it takes to unpack an image's layers, against containerd's overlayfs snapshotter.
 *
 *     npx tsc -p tsconfig.tools.json && node dist/bench/unpack.js [--rounds N] [--layout DIR] [--folder DIR]
 *
 * The image is the demo's with more small files, or the first one of an OCI layout. containerd has it in its
 * content store and gets `ctr snapshots unpack`; what ctr takes for doing nothing is subtracted. siphon
 * gets the same blobs and unpacks them in overlay form, all layers at once. The sides take turns; disk
 * caches are written out before each. Needs root, containerd, ctr, and a machine that does nothing else.
 */

import { execFile, execFileSync, spawn } from 'node:child_process';
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { type Digest, type DiffId, digestHex } from '#src/common/digest.js';
import { unpackLayer } from '#src/unpack/unpack-layer.js';
import { DEMO_PROCESS, demoLayers } from '../demo/image/demo-image.js';
import { writeLayout } from '../demo/image/write-layout.js';

const SMALL_FILES = 12_000;
const READ_SIZE = 1 << 20;
const START_TIMEOUT = 30_000;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    layout: { type: 'string' },
    folder: { type: 'string', default: tmpdir() },
  },
});

interface TestImage {
  layout: string;
  manifest: Digest;
  layers: { digest: Digest; size: number; diffId: DiffId }[];
}

/** A containerd of our own. */
interface Daemon {
  ctr(...args: string[]): Promise<void>;
  stop(): Promise<void>;
}

const run = promisify(execFile);
const directory = mkdtempSync(join(values.folder, 'siphon-measure-'));
try {
  const image = readImage(
    values.layout === undefined ? await demoLayout() : resolve(values.layout),
  );
  const daemon = await startContainerd();
  try {
    await compare(image, daemon);
  } finally {
    await daemon.stop();
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function compare(image: TestImage, daemon: Daemon): Promise<void> {
  const archive = join(directory, 'image.tar');
  execFileSync('tar', ['-C', image.layout, '-cf', archive, 'oci-layout', 'index.json', 'blobs']);
  const times: { containerd: number; siphon: number }[] = [];
  for (let round = 1; round <= Number(values.rounds); round += 1) {
    const name = `round-${round}`;
    const containerd = await timeContainerd(daemon, name, { archive, image });
    const siphon = await timeSiphon(image, join(directory, name));
    times.push({ containerd, siphon });
    console.log(
      `round ${round}: containerd ${containerd.toFixed(0)} ms, siphon ${siphon.toFixed(0)} ms, ratio ${(siphon / containerd).toFixed(2)}`,
    );
  }
  const containerd = median(times.map((one) => one.containerd));
  const siphon = median(times.map((one) => one.siphon));
  console.log(
    `${image.layers.length} layers, ${(image.layers.reduce((sum, { size }) => sum + size, 0) / 1e6).toFixed(0)} MB compressed; medians: containerd ${containerd.toFixed(0)} ms, siphon ${siphon.toFixed(0)} ms`,
  );
  console.log(`ratio ${(siphon / containerd).toFixed(2)}`);
}

async function timeContainerd(
  daemon: Daemon,
  namespace: string,
  { archive, image }: { archive: string; image: TestImage },
): Promise<number> {
  const ctr = (...args: string[]): Promise<void> => daemon.ctr('--namespace', namespace, ...args);
  await ctr('images', 'import', '--no-unpack', archive);
  execFileSync('sync');
  const nothing = await timed(() => ctr('snapshots', 'ls'));
  return (await timed(() => ctr('snapshots', 'unpack', image.manifest))) - nothing;
}

async function timeSiphon(image: TestImage, folder: string): Promise<number> {
  mkdirSync(folder);
  execFileSync('sync');
  const time = await timed(() =>
    Promise.all(
      image.layers.map(({ digest, size, diffId }, n) =>
        unpackLayer({
          source: createReadStream(blobPath(image.layout, digest), { highWaterMark: READ_SIZE }),
          target: join(folder, String(n)),
          form: 'overlay',
          fresh: true,
          expected: { blobDigest: digest, blobSize: size, diffId },
        }),
      ),
    ),
  );
  rmSync(folder, { recursive: true });
  return time;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

async function demoLayout(): Promise<string> {
  const layout = join(directory, 'layout');
  const layers = await demoLayers({ smallFiles: SMALL_FILES });
  await writeLayout({ layout, tag: 'latest', layers, process: DEMO_PROCESS });
  return layout;
}

function readImage(layout: string): TestImage {
  // Written by a tool for layouts, or by this script.
  const blob = (digest: Digest): any => JSON.parse(readFileSync(blobPath(layout, digest), 'utf8'));
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
  const { digest } = index.manifests[0];
  const manifest = blob(digest);
  const { diff_ids: diffIds } = blob(manifest.config.digest).rootfs;
  const layers = manifest.layers.map((layer: { digest: Digest; size: number }, n: number) => ({
    ...layer,
    diffId: diffIds[n],
  }));
  return { layout, manifest: digest, layers };
}

function blobPath(layout: string, digest: Digest): string {
  return join(layout, 'blobs/sha256', digestHex(digest));
}

async function startContainerd(): Promise<Daemon> {
  const folder = join(directory, 'containerd');
  mkdirSync(folder);
  const address = join(folder, 'socket');
  const config = join(folder, 'config.toml');
  writeFileSync(
    config,
    `version = 2
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${address}"
[ttrpc]
  address = "${address}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "${folder}/opt"
`,
  );
  const log = openSync(join(folder, 'log'), 'w');
  const child = spawn('containerd', ['--config', config], { stdio: ['ignore', log, log] });
  const exited = new Promise((done) => child.once('exit', done));
  for (const deadline = Date.now() + START_TIMEOUT; !existsSync(address); await delay(50)) {
    if (Date.now() > deadline) throw new Error(`containerd does not start: see ${folder}/log`);
  }
  return {
    ctr: async (...args) => void (await run('ctr', ['--address', address, ...args])),
    stop: async () => {
      child.kill();
      await exited;
    },
  };
}
