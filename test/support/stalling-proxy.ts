/** A registry behind a proxy that answers a request for one blob and then sends nothing more. */

import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface StallingProxy extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  host: string;
  /** Resolves when the blob has been asked for. */
  stalled: Promise<void>;
}

export async function startStallingProxy(registry: string, digest: string): Promise<StallingProxy> {
  let reached = (): void => {};
  const stalled = new Promise<void>((resolve) => (reached = resolve));
  const server = createServer((asked, answer) => {
    const { method, url = '/', headers } = asked;
    const [host, port] = registry.split(':');
    const forwarded = request({ host, port, method, path: url, headers }, (from) => {
      answer.writeHead(from.statusCode ?? 502, from.headers);
      if (method === 'GET' && url.endsWith(digest)) {
        answer.flushHeaders();
        from.destroy();
        reached();
      } else from.pipe(answer);
    });
    forwarded.once('error', () => answer.destroy());
    asked.pipe(forwarded);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    stalled,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
