/** A registry behind a proxy that notes what is asked for, and lets a test hold or fail requests. */

import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface RegistryProxy extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  host: string;
  /** In order of arrival: `GET /v2/app/blobs/sha256:…`. */
  requests: string[];
  /** Waited for before a request is passed on; a status is answered instead of the registry. */
  before: (request: string) => Promise<number | void>;
  /** Bytes of bodies that were passed on. */
  sent: number;
  /** Changes a body in place as it is passed on; `offset` is that of `bytes` in the blob. */
  alter: (request: string, bytes: Buffer, at: { offset: number; range: boolean }) => void;
}

/** @param registry `127.0.0.1:PORT` */
export async function startRegistryProxy(registry: string): Promise<RegistryProxy> {
  const [hostname, port] = registry.split(':');
  const server = createServer((asked, answer) => {
    const { method = '', url = '/', headers } = asked;
    const line = `${method} ${url}`;
    proxy.requests.push(line);
    void proxy.before(line).then((status) => {
      if (status !== undefined) return answer.writeHead(status).end();
      const onward = request({ hostname, port, method, path: url, headers }, (from) => {
        answer.writeHead(from.statusCode ?? 502, from.headers);
        const range = from.statusCode === 206;
        let offset = Number(/^bytes (\d+)-/.exec(from.headers['content-range'] ?? '')?.[1] ?? 0);
        from.on('data', (bytes: Buffer) => {
          proxy.alter(line, bytes, { offset, range });
          offset += bytes.length;
          proxy.sent += bytes.length;
        });
        from.pipe(answer);
      });
      onward.once('error', () => answer.destroy());
      return asked.pipe(onward);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy: RegistryProxy = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    sent: 0,
    alter: () => undefined,
    before: () => Promise.resolve(),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}
