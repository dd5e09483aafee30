import { type IncomingMessage, type ServerResponse, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { buildLayout, file, noise } from '../support/images.js';
import { openSandbox } from '../support/sandbox.js';

/** Layers that siphon brings at a time. */
const limit = Math.max(4, availableParallelism());

it('siphon pull brings several layers at once, and never more than its limit', async () => {
  await using sandbox = await openSandbox();
  const layout = join(sandbox.directory, 'layout');
  const layers = Array.from({ length: limit * 2 }, (_, at) => [
    file(`f${at}`, noise(200_000, String(at))),
  ]);
  const image = await buildLayout(layout, { tag: 'v1', layers });
  const server = await serveLayout({ layout });
  const wanted = new Set(image.layers.map(({ digest }) => digest as string));
  const atWork = new Map<string, number>();
  let most = 0;
  const handOn = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const digest = /sha256:[0-9a-f]{64}$/.exec(incoming.url ?? '')?.[0] ?? '';
    if (wanted.has(digest)) atWork.set(digest, (atWork.get(digest) ?? 0) + 1);
    most = Math.max(most, atWork.size);
    outgoing.once('close', () => {
      const left = (atWork.get(digest) ?? 1) - 1;
      if (left === 0) atWork.delete(digest);
      else atWork.set(digest, left);
    });
    await delay(200);
    const { method, url, headers } = incoming;
    const [host = '', port] = server.host.split(':');
    const asked = request({ host, port: Number(port), method, path: url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(outgoing);
    });
    asked.end();
  };
  const proxy = createServer((incoming, outgoing) => void handOn(incoming, outgoing));
  await new Promise<void>((done) => proxy.listen(0, '127.0.0.1', done));
  try {
    const { port } = proxy.address() as AddressInfo; // a TCP server's
    const pulled = await sandbox.siphon('pull', `127.0.0.1:${port}/app:v1`);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(limit);
  } finally {
    proxy.closeAllConnections();
    proxy.close();
    await server.close();
  }
}, 60_000);
