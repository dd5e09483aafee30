/**
 * What the size of spans costs: bytes and requests that starting a program takes, the time of that over a link with a
 * round trip, and the size of the index.
 *
 *     npm run build && node dist/bench/span-size.js [--rounds N] [--rtt MS] [--mbit N] [--folder DIR]
 *
 * The demo's image (a Node runtime, npm, an application) is indexed with each span size and served with these
 * indexes beside it; `siphon run` starts it in a fresh root, in turns, at the far end of the link of
 * `meters/network.ts` (10 ms, 400 Mbit/s), with the kernel's caches dropped. Bytes and requests are those for layers; indexes come on top and are told apart. Needs root and runc.
 */

import { cpSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Digest } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { openImage } from '#src/content/image.js';
import { publishIndexes } from '#src/content/index-artifact.js';
import { parseSource } from '#src/content/source.js';
import { buildIndex } from '#src/index/build-index.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { DEMO_PROCESS, demoLayers } from '../demo/image/demo-image.js';
import { writeLayout } from '../demo/image/write-layout.js';
import { dropCaches } from './harness/caches.js';
import { singleBench, summary, timed } from './harness/single-bench.js';
import { type Network, openNetwork } from './meters/network.js';
import { startTrafficMeter } from './meters/traffic-meter.js';
import { executeCommand } from './programs/execute.js';
import { removePlace } from './programs/remove-place.js';
import { siphonProgram } from './programs/siphon-program.js';

const KIB = 1 << 10;
const SIZES = [256, 512, 1024, 2048, 4096, 8192].map((size) => size * KIB);

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    rtt: { type: 'string', default: '10' },
    mbit: { type: 'string', default: '400' },
    folder: { type: 'string', default: tmpdir() },
  },
});

interface Indexed {
  spanSize: number;
  server: LayoutServer;
  /** Bytes of all indexes, as files and as a share of the tars. */
  indexSize: number;
  share: number;
}

interface Start {
  layerBytes: number;
  layerRequests: number;
  otherBytes: number;
  seconds: number;
}

interface Place {
  directory: string;
  network: Network;
  signal: AbortSignal;
}

await singleBench(values.folder, async (directory, signal) => {
  await using network = await openNetwork(Number(values.mbit));
  const place = { directory, network, signal };
  const layout = join(directory, 'layout');
  await writeLayout({ layout, tag: 'latest', layers: await demoLayers(), process: DEMO_PROCESS });
  const all: Indexed[] = [];
  for (const spanSize of SIZES) all.push(await indexWith(layout, spanSize, place));
  const starts = new Map<number, Start[]>();
  for (let round = 0; round < Number(values.rounds); round += 1)
    for (const one of all) {
      signal.throwIfAborted();
      starts.set(one.spanSize, [...(starts.get(one.spanSize) ?? []), await start(one, place)]);
    }
  report(all, starts);
  for (const { server } of all) await server.close();
});

/** A copy of the layout with indexes of this span size, served. */
async function indexWith(
  layout: string,
  spanSize: number,
  { directory, signal }: Place,
): Promise<Indexed> {
  const copy = join(directory, `layout-${spanSize}`);
  cpSync(layout, copy, { recursive: true });
  const store = await ContentStore.open(join(directory, `store-${spanSize}`));
  const image = await openImage(parseSource(`oci:${copy}:latest`), { store, signal });
  const paths = new Map<Digest, string>();
  let [indexSize, tarSize] = [0, 0];
  for (const layer of image.layers) {
    const output = join(directory, `index-${spanSize}-${paths.size}`);
    const source = await image.openLayer(layer, signal);
    tarSize += (await buildIndex(source.stream(signal), { output, spanSize })).tarSize;
    await source.close();
    indexSize += statSync(output).size;
    paths.set(layer.descriptor.digest, output);
  }
  await publishIndexes(image, paths, signal);
  await image.close();
  const server = await serveLayout({ layout: copy, repository: 'demo' });
  return { spanSize, server, indexSize, share: indexSize / tarSize };
}

/** Runs the image's program to its end in a fresh root. */
async function start({ spanSize, server }: Indexed, { directory, network }: Place): Promise<Start> {
  const root = join(directory, `root-${spanSize}`);
  await using traffic = await startTrafficMeter(server.host);
  await using link = await network.link(traffic.port, Number(values.rtt));
  await dropCaches();
  traffic.start();
  const words = ['--root', root, '--plain-http', 'run', '--rm', '--net', 'host'];
  const source = `docker://${link.host}/demo:latest`;
  const siphon = [...network.enter, process.execPath, siphonProgram];
  const ms = await timed(() => executeCommand([...siphon, ...words, source]));
  const { log } = traffic.read();
  await removePlace(root);
  // Of layers, ranges are asked for; of anything else, all of it.
  const ofLayers = log.filter(({ status }) => status === 206);
  const bytesOf = (all: typeof log): number => all.reduce((sum, { bytes }) => sum + bytes, 0);
  const layerBytes = bytesOf(ofLayers);
  const otherBytes = bytesOf(log) - layerBytes;
  return { layerBytes, layerRequests: ofLayers.length, otherBytes, seconds: ms / 1000 };
}

function report(all: readonly Indexed[], starts: ReadonlyMap<number, Start[]>): void {
  console.log(
    `round trip ${values.rtt} ms, ${values.mbit} Mbit/s, ${values.rounds} rounds, medians\n`,
  );
  console.log(
    '| span size | layer bytes | requests | index bytes drawn | time to the end | index |',
  );
  console.log(
    '| --------- | ----------- | -------- | ----------------- | --------------- | ----- |',
  );
  for (const { spanSize, share } of all) {
    const rounds = starts.get(spanSize) ?? [];
    const of = (pick: (one: Start) => number): number => summary(rounds.map(pick)).median;
    const cells = [
      `${spanSize / KIB} KiB`,
      `${(of((one) => one.layerBytes) / 1e6).toFixed(1)} MB`,
      String(of((one) => one.layerRequests)),
      `${(of((one) => one.otherBytes) / 1e6).toFixed(2)} MB`,
      `${of((one) => one.seconds).toFixed(2)} s`,
      `${(100 * share).toFixed(2)} %`,
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}
