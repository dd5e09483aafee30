/** A plain HTTP proxy before one server, that lets its owner see, hold and change what goes through. */

import { once } from 'node:events';
import { type IncomingMessage, type ServerResponse, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';

/** One request with its answer, followed by {@link ProxyHooks}. */
export interface Exchange {
  method: string;
  /** Path with query. */
  url: string;
}

export interface ProxyHooks {
  /** Waited for before a request is passed on; a status is answered instead of the server. */
  before?: (exchange: Exchange) => Promise<number | void>;
  /** The head of the answer has come. */
  answered?: (exchange: Exchange, answer: AnswerHead) => void;
  /** Bytes of the answer's body, which may be changed in place; `offset` is that of `bytes` in the whole. */
  passing?: (exchange: Exchange, bytes: Buffer, offset: number) => void;
  /** The answer is over, cut off or not. */
  ended?: (exchange: Exchange) => void;
}

export interface AnswerHead {
  status: number;
  /** The body is a range of something larger. */
  isRange: boolean;
}

export interface ReverseProxy extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly port: number;
}

/**
 * @param server `127.0.0.1:PORT`, which speaks plain HTTP
 * @returns when it listens, on a free port of the loopback interface
 */
export async function startReverseProxy(
  server: string,
  hooks: ProxyHooks = {},
): Promise<ReverseProxy> {
  const proxy = createServer((asked, answer) => {
    relay(server, hooks, { asked, answer }).catch(() => answer.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const { port } = proxy.address() as AddressInfo;
  return {
    host: `127.0.0.1:${port}`,
    port,
    async [Symbol.asyncDispose]() {
      proxy.closeAllConnections();
      proxy.close();
      await once(proxy, 'close');
    },
  };
}

async function relay(
  server: string,
  hooks: ProxyHooks,
  { asked, answer }: { asked: IncomingMessage; answer: ServerResponse },
): Promise<void> {
  const { method = '', url = '/', headers } = asked;
  const exchange: Exchange = { method, url };
  try {
    const status = await hooks.before?.(exchange);
    if (status !== undefined) {
      answer.writeHead(status).end();
      return;
    }
    const [hostname, port] = server.split(':');
    const onward = request({ hostname, port, method, path: url, headers });
    // Whoever is told before it has said everything does not get to say the rest.
    pipeline(asked, onward).catch(() => undefined);
    const [from] = (await once(onward, 'response')) as [IncomingMessage];
    await passOn(exchange, hooks, { from, answer });
  } finally {
    hooks.ended?.(exchange);
  }
}

async function passOn(
  exchange: Exchange,
  hooks: ProxyHooks,
  { from, answer }: { from: IncomingMessage; answer: ServerResponse },
): Promise<void> {
  const status = from.statusCode ?? 502;
  const isRange = status === 206;
  hooks.answered?.(exchange, { status, isRange });
  answer.writeHead(status, from.headers);
  let offset = isRange ? firstByte(from.headers['content-range']) : 0;
  from.on('data', (bytes: Buffer) => {
    hooks.passing?.(exchange, bytes, offset);
    offset += bytes.length;
  });
  await pipeline(from, answer);
}

function firstByte(contentRange = ''): number {
  return Number(/^bytes (\d+)-/.exec(contentRange)?.[1] ?? 0);
}
