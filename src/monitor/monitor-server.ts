/** The monitor over HTTP: `/metrics` for Prometheus, `/status` as JSON. It answers nobody but those who can reach it. */

import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SiphonError, errorMessage } from '../common/errors.js';
import type { ServiceMonitor } from './service-monitor.js';

export type MonitorAddress = { path: string } | { host: string; port: number };

/** Where a service on `root` tells its status, to its own user only. */
export function statusSocket(root: string): string {
  return join(root, 'status', 'socket');
}

/** `host:port`, `[v6]:port`, or an absolute path. @throws SiphonError `usage` */
export function parseMonitorAddress(text: string): MonitorAddress {
  if (text.startsWith('/')) return { path: text };
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const [host, port] = [match?.[1] ?? match?.[2], Number(match?.[3])];
  if (host !== undefined && port <= 65535) return { host, port };
  throw new SiphonError(
    'usage',
    `Cannot use metrics address "${text}": expected host:port or an absolute path`,
  );
}

export interface MonitorServer {
  close(): Promise<void>;
}

/**
 * Listens until closed. A socket that is there already goes: whoever calls this has the root to itself.
 * @throws SiphonError `unavailable` where the address cannot be had
 */
export async function serveMonitor(
  monitor: ServiceMonitor,
  address: MonitorAddress,
): Promise<MonitorServer> {
  const server = createServer((request, response) => void answer(monitor, request, response));
  try {
    if ('path' in address) await listenOnSocket(server, address.path);
    else await listen(server, address);
  } catch (error) {
    const name = 'path' in address ? address.path : `${address.host}:${address.port}`;
    throw new SiphonError(
      'unavailable',
      `Cannot listen on "${name}" for metrics: ${errorMessage(error)}`,
      { cause: error },
    );
  }
  return {
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** The folder keeps others out until the permissions are right. */
async function listenOnSocket(server: Server, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await rm(path, { force: true });
  await listen(server, { path });
  await chmod(path, 0o600);
}

function listen(server: Server, address: MonitorAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(address, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function answer(
  monitor: ServiceMonitor,
  { method, url }: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    if (method !== 'GET') response.writeHead(405).end();
    else if (url === '/metrics') {
      const { type, text } = await monitor.metrics();
      response.writeHead(200, { 'content-type': type }).end(text);
    } else if (url === '/status') {
      const text = JSON.stringify(await monitor.status());
      response.writeHead(200, { 'content-type': 'application/json' }).end(text);
    } else response.writeHead(404).end();
  } catch (error) {
    response.writeHead(500).end(errorMessage(error));
  }
}
