/**
 * An OCI image layout on a loopback port, as a read-only registry: what the demo and the tests pull
 * from, and a way to serve images from a folder without a registry. It verifies nothing, clients do.
 */

import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import { type Logger, silentLogger } from '../common/log.js';
import { type ServerStats, answerError } from './answer.js';
import { LayoutReader } from './layout-reader.js';
import { type Served, answerRequest } from './routes.js';

export interface ServeLayoutOptions {
  /** Folder with `oci-layout`, `index.json` and `blobs/`. */
  layout: string;
  /** Default `127.0.0.1`. */
  host?: string;
  /** Default 0: any free port. */
  port?: number;
  /** Serve under this name only; default: under any. */
  repository?: string;
  log?: Logger;
}

export interface LayoutServer {
  /** `127.0.0.1:PORT`, as references name it. */
  readonly host: string;
  readonly port: number;
  readonly stats: ServerStats;
  /** Ends running requests too. */
  close(): Promise<void>;
}

/**
 * Resolves once it listens.
 * @throws SiphonError `not-found` or `invalid` for no layout, `unavailable` where it cannot listen
 */
export async function serveLayout(options: ServeLayoutOptions): Promise<LayoutServer> {
  const layout = await LayoutReader.open(options.layout);
  const served = { layout, repository: options.repository };
  const stats = { requests: 0, bytesSent: 0, blobBytesSent: 0 };
  const log = options.log ?? silentLogger;
  const server = createServer((request, response) => {
    void handle(request, response, { served, stats, log });
  });
  const host = options.host ?? '127.0.0.1';
  const port = await listen(server, host, options.port ?? 0);
  return {
    host: `${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    stats,
    close: () => closeServer(server),
  };
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  context: { served: Served; stats: ServerStats; log: Logger },
): Promise<void> {
  const { served, stats, log } = context;
  stats.requests += 1;
  response.setHeader('docker-distribution-api-version', 'registry/2.0');
  try {
    await answerRequest({ request, response, stats }, served);
  } catch (error) {
    if (response.headersSent) {
      // The client hung up, or the file ended early: a cut connection tells it.
      response.destroy();
      return;
    }
    log.error({ err: error, path: request.url }, 'cannot answer request');
    const message = error instanceof SiphonError ? errorMessage(error) : 'internal error';
    answerError({ request, response, stats }, { status: 500, code: 'UNKNOWN', message });
  }
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const why = systemCode(cause) ?? errorMessage(cause);
      reject(
        new SiphonError('unavailable', `Cannot listen on "${host}:${port}": ${why}`, { cause }),
      );
    });
    // A TCP server's address is an object once it listens.
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
