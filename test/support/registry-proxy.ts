/** A registry behind a proxy that notes what is asked for, and lets a test hold or fail requests. */

import { type Exchange, startReverseProxy } from '../../bench/meters/reverse-proxy.js';

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
  const ranges = new WeakSet<Exchange>();
  const server = await startReverseProxy(registry, {
    before(exchange) {
      const line = lineOf(exchange);
      proxy.requests.push(line);
      return proxy.before(line);
    },
    answered(exchange, { isRange }) {
      if (isRange) ranges.add(exchange);
    },
    passing(exchange, bytes, offset) {
      proxy.alter(lineOf(exchange), bytes, { offset, range: ranges.has(exchange) });
      proxy.sent += bytes.length;
    },
  });
  const proxy: RegistryProxy = {
    host: server.host,
    requests: [],
    sent: 0,
    alter: () => undefined,
    before: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
  return proxy;
}

function lineOf({ method, url }: Exchange): string {
  return `${method} ${url}`;
}
