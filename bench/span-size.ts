/**
 * What the size of spans costs: bytes and requests that starting a program takes, the time of that over a link with a
 * round trip, and the size of the index.
 *
 *     npm run build && node dist/bench/span-size.js [--rounds N] [--rtt MS] [--rate MB] [--folder DIR]
 *
 * The demo's image (a Node runtime, npm, an application) is indexed with each span size and served with these
 * indexes beside it; `siphon run` starts it in a fresh root, in turns. The proxy in between holds each
 * request for the round trip (10 ms) and lets the bodies of all answers through at one rate (50 MB/s). Bytes and
 * requests are those for layers; indexes come on top and are told apart. Needs root and runc.
 */

import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { type IncomingMessage, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import type { Digest } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { openImage } from '#src/content/image.js';
import { publishIndexes } from '#src/content/index-artifact.js';
import { parseSource } from '#src/content/source.js';
import { buildIndex } from '#src/index/build-index.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { DEMO_PROCESS, demoLayers } from '../demo/image/demo-image.js';
import { writeLayout } from '../demo/image/write-layout.js';

const KIB = 1 << 10;
const SIZES = [256, 512, 1024, 2048, 4096, 8192].map((size) => size * KIB);

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    rtt: { type: 'string', default: '10' },
    rate: { type: 'string', default: '50' },
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

const run = promisify(execFile);
const siphon = fileURLToPath(new URL('../../bin/siphon', import.meta.url));
const { signal } = new AbortController();
const directory = mkdtempSync(join(values.folder, 'siphon-measure-'));
try {
  await measure();
} finally {
  rmSync(directory, { recursive: true });
}

async function measure(): Promise<void> {
  const layout = join(directory, 'layout');
  await writeLayout({ layout, tag: 'latest', layers: await demoLayers(), process: DEMO_PROCESS });
  const all: Indexed[] = [];
  for (const spanSize of SIZES) all.push(await indexWith(layout, spanSize));
  const starts = new Map(SIZES.map((size) => [size, [] as Start[]]));
  for (let round = 0; round < Number(values.rounds); round += 1)
    for (const one of all) starts.get(one.spanSize)?.push(await start(one));
  report(all, starts);
  for (const { server } of all) await server.close();
}

/** A copy of the layout with indexes of this span size, served. */
async function indexWith(layout: string, spanSize: number): Promise<Indexed> {
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
async function start({ spanSize, server }: Indexed): Promise<Start> {
  const root = join(directory, `root-${spanSize}`);
  await using link = await startLink(server.host);
  execFileSync('sync');
  const begun = performance.now();
  await run(siphon, ['--root', root, 'run', '--rm', `docker://${link.host}/demo:latest`]);
  const seconds = (performance.now() - begun) / 1000;
  rmSync(root, { recursive: true });
  const { layerBytes, layerRequests, otherBytes } = link;
  return { layerBytes, layerRequests, otherBytes, seconds };
}

interface Link extends AsyncDisposable {
  host: string;
  layerBytes: number;
  layerRequests: number;
  otherBytes: number;
}

/** A proxy before the registry that is as far away, and lets through as much, as the options say. */
async function startLink(registry: string): Promise<Link> {
  const [hostname, port] = registry.split(':');
  const bytesPerMs = Number(values.rate) * 1000;
  let freeAt = 0;
  const server = createServer((asked, answer) => {
    const { method = '', url = '/', headers } = asked;
    const isLayer = headers.range !== undefined;
    const relay = async (): Promise<void> => {
      await delay(Number(values.rtt));
      const onward = request({ hostname, port, method, path: url, headers }).end();
      const [from] = (await once(onward, 'response')) as [IncomingMessage];
      answer.writeHead(from.statusCode ?? 502, from.headers);
      if (isLayer) link.layerRequests += 1;
      for await (const piece of from as AsyncIterable<Buffer>) {
        if (isLayer) link.layerBytes += piece.length;
        else link.otherBytes += piece.length;
        const now = performance.now();
        freeAt = Math.max(now, freeAt) + piece.length / bytesPerMs;
        if (freeAt - now > 1) await delay(freeAt - now);
        answer.write(piece);
      }
      answer.end();
    };
    relay().catch(() => answer.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  const link: Link = {
    host,
    layerBytes: 0,
    layerRequests: 0,
    otherBytes: 0,
    [Symbol.asyncDispose]: close,
  };
  return link;
}

function report(all: readonly Indexed[], starts: ReadonlyMap<number, Start[]>): void {
  console.log(
    `round trip ${values.rtt} ms, ${values.rate} MB/s, ${values.rounds} rounds, medians\n`,
  );
  console.log(
    '| span size | layer bytes | requests | index bytes drawn | time to the end | index |',
  );
  console.log(
    '| --------- | ----------- | -------- | ----------------- | --------------- | ----- |',
  );
  for (const { spanSize, share } of all) {
    const rounds = starts.get(spanSize) ?? [];
    const of = (pick: (one: Start) => number): number => median(rounds.map(pick));
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

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}
