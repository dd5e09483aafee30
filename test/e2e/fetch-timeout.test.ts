/** A layer of which only headers were read, and whose one pass is slow: how long its reads wait. */

import { status } from '@grpc/grpc-js';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { type IncomingMessage, type ServerResponse, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { createLayout } from '#src/content/layout-writer.js';
import { blobFile } from '#src/content/layout.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { startSiphonService } from '../../bench/programs/siphon-service.js';
import { layerLabels } from '../support/layer-labels.js';
import { buildLayout, file, noise } from '../support/images.js';
import { mounted } from '../support/mounted.js';
import { openSandbox } from '../support/sandbox.js';
import { connectSnapshots } from '../support/snapshots-client.js';

const missing = process.getuid?.() === 0 ? undefined : 'needs root';
const PIECE = 64 << 10;

/** A way to a registry on which `blob`, asked for as a whole, comes in pieces, now and then, until it is to hurry. */
async function dripping(registry: string, digest: string, blob: Buffer) {
  const state = { sent: 0, hurries: false };
  const drip = async (answer: ServerResponse): Promise<void> => {
    answer.writeHead(200, { 'content-length': blob.length });
    for (let at = 0; at < blob.length && !answer.destroyed; at += PIECE) {
      answer.write(blob.subarray(at, at + PIECE));
      state.sent = at + PIECE;
      if (!state.hurries) await delay(100);
    }
    answer.end();
  };
  const pass = ({ url, method, headers }: IncomingMessage, answer: ServerResponse): void => {
    const [hostname, port] = registry.split(':');
    request({ hostname, port, path: url, method, headers }, (from) => {
      answer.writeHead(from.statusCode ?? 500, from.headers);
      from.pipe(answer);
    }).end();
  };
  const server = createServer((asked, answer) => {
    const isWhole = asked.url?.includes(digest) === true && asked.headers.range === undefined;
    if (isWhole && asked.method === 'GET') void drip(answer);
    else pass(asked, answer);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => server.close().closeAllConnections());
  return { state, host: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

it.skipIf(missing !== undefined)(
  `a read ends in time though bytes keep coming, and works once they have come ${missing ?? ''}`,
  async () => {
    await using sandbox = await openSandbox();
    const layout = await sandbox.folder('layout');
    await createLayout(layout);
    const contents = noise(16 << 20, 'slow');
    const entries = [file('data', contents)];
    const image = await buildLayout(layout, {
      tag: 'latest',
      layers: [entries],
      compression: 'none',
    });
    const digest = image.layers[0]?.digest;
    if (digest === undefined) throw new Error('the image has no layer');
    const registry = await serveLayout({ layout });
    const blob = await readFile(join(layout, blobFile(digest)));
    const { state, host } = await dripping(registry.host, digest, blob);
    const config = join(sandbox.directory, 'impatient.toml');
    await writeFile(config, 'smallest_lazy_layer = 0\nfetch_timeout = 2\nfill_after = "never"\n');
    const siphon = await startSiphonService(sandbox, '--config', config);
    const { address } = siphon;
    const snapshots = connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
    try {
      const labels = layerLabels({ target: 'chain', image: `${host}/app:latest`, digest });
      const prepared = snapshots.prepare('pull', '', labels);
      await expect(prepared).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
      await snapshots.view('view', 'chain');
      await mounted(await snapshots.mounts('view'), async (root) => {
        await expect(readFile(join(root, 'data'))).rejects.toMatchObject({ code: 'EIO' });
        expect(state.sent).toBeGreaterThan(0);
        expect(state.sent).toBeLessThan(blob.length);
        state.hurries = true;
        const read = (): Promise<Buffer | undefined> =>
          readFile(join(root, 'data')).catch(() => undefined);
        const isRight = async (): Promise<boolean> => (await read())?.equals(contents) === true;
        await expect.poll(isRight, { timeout: 20_000, interval: 500 }).toBe(true);
      });
    } finally {
      snapshots.close();
      await siphon.stop();
      await registry.close();
    }
  },
  60_000,
);
