/**
 * How long it takes to unpack an image's layers, against containerd's overlayfs snapshotter.
 *
 *     npx tsc -p tsconfig.tools.json && node dist/bench/unpack.js [--rounds N] [--layout DIR] [--folder DIR]
 *
 * The image is the demo's with more small files, or the first one of an OCI layout. containerd has it in its
 * content store and gets `ctr snapshots unpack`; what ctr takes for doing nothing is subtracted. siphon
 * gets the same blobs and unpacks them in overlay form, all layers at once. The sides take turns; what is
 * dirty is written out before each; nothing is removed before the end, because ext4 makes files slowly for
 * a while after many were removed. Needs root, containerd, ctr, and a machine that does nothing else.
 */

import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { ContentStore } from '#src/content/content-store.js';
import { type Image, type ImageLayer, openImage } from '#src/content/image.js';
import { parseSource } from '#src/content/source.js';
import { unpackLayer } from '#src/unpack/unpack-layer.js';
import { DEMO_PROCESS, demoLayers } from '../demo/image/demo-image.js';
import { writeLayout } from '../demo/image/write-layout.js';

const SMALL_FILES = 12_000;
const START_TIMEOUT = 30_000;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    layout: { type: 'string' },
    folder: { type: 'string', default: tmpdir() },
  },
});

/** A containerd of our own. */
interface Daemon {
  ctr(...args: string[]): Promise<void>;
  stop(): Promise<void>;
}

const run = promisify(execFile);
const { signal } = new AbortController();
const directory = mkdtempSync(join(values.folder, 'siphon-measure-'));
try {
  const layout = values.layout === undefined ? await demoLayout() : resolve(values.layout);
  const store = await ContentStore.open(directory);
  const image = await openImage(parseSource(`oci:${layout}`), { store, signal });
  const daemon = await startContainerd();
  try {
    await compare(image, layout, daemon);
  } finally {
    await daemon.stop();
    await image.close();
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function compare(image: Image, layout: string, daemon: Daemon): Promise<void> {
  const archive = join(directory, 'image.tar');
  execFileSync('tar', ['-C', layout, '-cf', archive, 'oci-layout', 'index.json', 'blobs']);
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
    `${image.layers.length} layers, ${(image.layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0) / 1e6).toFixed(0)} MB compressed; medians: containerd ${containerd.toFixed(0)} ms, siphon ${siphon.toFixed(0)} ms`,
  );
  console.log(`ratio ${(siphon / containerd).toFixed(2)}`);
}

async function timeContainerd(
  daemon: Daemon,
  namespace: string,
  { archive, image }: { archive: string; image: Image },
): Promise<number> {
  const ctr = (...args: string[]): Promise<void> => daemon.ctr('--namespace', namespace, ...args);
  await ctr('images', 'import', '--no-unpack', archive);
  execFileSync('sync');
  const nothing = await timed(() => ctr('snapshots', 'ls'));
  return (
    (await timed(() => ctr('snapshots', 'unpack', String(image.descriptor?.digest)))) - nothing
  );
}

async function timeSiphon(image: Image, folder: string): Promise<number> {
  mkdirSync(folder);
  execFileSync('sync');
  const time = await timed(() =>
    Promise.all(image.layers.map((layer, n) => unpack(image, layer, join(folder, String(n))))),
  );
  return time;
}

async function unpack(image: Image, layer: ImageLayer, target: string): Promise<void> {
  const { digest: blobDigest, size: blobSize } = layer.descriptor;
  const diffId = layer.diffId === undefined ? {} : { diffId: layer.diffId };
  const blob = await image.openLayer(layer, signal);
  const source = blob.stream(signal);
  const expected = { blobDigest, blobSize, ...diffId };
  await unpackLayer({ source, target, form: 'overlay', fresh: true, expected });
  await blob.close();
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
