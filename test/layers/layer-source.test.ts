import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import type { Digest } from '#src/common/digest.js';
import { silentLogger } from '#src/common/log.js';
import { ContentStore } from '#src/content/content-store.js';
import { nameOfUrl } from '#src/content/location.js';
import type { LayerInfo } from '#src/index/layer-model.js';
import { LayerSource } from '#src/layers/layer-source.js';
import type { LayerRecord } from '#src/layers/layer-store.js';
import { FetchQueues } from '#src/remote/fetch-queues.js';
import { temporaryFolder } from '../index/support/layers.js';

const blob = randomBytes(1 << 20);
const { signal } = new AbortController();
const VERSION = '"one"';
/** An address of its own, lest another test take the port while it is free. */
const HOST = '127.0.0.3';

/** Serves the blob, at the port where it was before. */
async function serve(port = 0): Promise<Server> {
  const server = createServer((request, response) => {
    const [, first = 0, last = 0] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const body = blob.subarray(Number(first), Number(last) + 1);
    const range = `bytes ${first}-${last}/${blob.length}`;
    response.writeHead(206, { etag: VERSION, 'content-range': range }).end(body);
  });
  onTestFinished(() => server.close().closeAllConnections());
  await new Promise<void>((resolve) => server.listen(port, HOST, resolve));
  return server;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

async function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

async function sourceAt(port: number) {
  const directory = temporaryFolder();
  const url = `http://${HOST}:${port}/layer.tar`;
  const size = blob.length;
  const name: Digest = nameOfUrl(url, { size, validator: VERSION });
  const closing = new AbortController();
  const failures: string[] = [];
  const source = new LayerSource({
    record: { identity: 'location', origin: { kind: 'url', url } } as LayerRecord,
    info: { blobDigest: name, blobSize: size, digestOf: 'none' } as LayerInfo, // what it looks at
    directory,
    content: await ContentStore.open(directory),
    queues: new FetchQueues(),
    keeps: true,
    onFailure: (message) => failures.push(message),
    onKept: () => undefined,
    closing: closing.signal,
    log: silentLogger,
  });
  onTestFinished(async () => {
    closing.abort();
    await source.close();
  });
  return { source, closing, failures, directory };
}

test('what is read of a URL waits for a server that is away, as of a registry', async () => {
  const server = await serve();
  const port = portOf(server);
  const { source, failures } = await sourceAt(port);
  const opened = await source.open();
  expect(await opened.read(0, 10, signal)).toEqual(blob.subarray(0, 10));
  await stop(server);
  const reading = opened.read(1000, 10, signal);
  // Longer than tries are made where nobody has patience.
  expect(await Promise.race([reading, delay(7000, 'waits')])).toBe('waits');
  expect(failures.length).toBeGreaterThan(0);
  await serve(port);
  expect(await reading).toEqual(blob.subarray(1000, 1010));
}, 20_000);

test('a server that is away when a layer of it is first read is waited for, until the layer is closed', async () => {
  const server = await serve();
  const port = portOf(server);
  await stop(server);
  const { source } = await sourceAt(port);
  const opening = source.open();
  await delay(500);
  await serve(port);
  expect(await (await opening).read(5, 10, signal)).toEqual(blob.subarray(5, 15));
  const gone = await serve();
  const other = await sourceAt(portOf(gone));
  await stop(gone);
  const never = other.source.open();
  never.catch(() => undefined);
  await delay(200);
  other.closing.abort();
  await expect(never).rejects.toMatchObject({ code: 'cancelled' });
  await other.source.close();
});

test.skipIf(process.getuid?.() !== 0)(
  'a disk that takes not even the record of parts does not keep the layer from being read (needs root)',
  async () => {
    const server = await serve();
    const { source, directory } = await sourceAt(portOf(server));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'nr_inodes=1', 'tmpfs', directory]);
    onTestFinished(() => void execFileSync('umount', [directory]));
    const opened = await source.open();
    expect(await opened.read(0, 10, signal)).toEqual(blob.subarray(0, 10));
  },
);
