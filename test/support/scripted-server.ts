/** A node:http server that a test scripts, for faults that no real registry shows at will. */

import { type IncomingHttpHeaders, type RequestListener, createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface SeenRequest {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
}

export interface ScriptedServer {
  /** `127.0.0.1:PORT` */
  host: string;
  origin: string;
  /** In order of arrival. */
  requests: SeenRequest[];
  close(): Promise<void>;
}

/** @param tls PEM; absent: plain HTTP */
export async function startScriptedServer(
  listener: RequestListener,
  tls?: { cert: Buffer; key: Buffer },
): Promise<ScriptedServer> {
  const requests: SeenRequest[] = [];
  const noting: RequestListener = (request, response) => {
    const { method = '', url = '', headers } = request;
    requests.push({ method, path: url, headers });
    listener(request, response);
  };
  const server = tls === undefined ? createServer(noting) : createTlsServer(tls, noting);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    host,
    origin: `${tls === undefined ? 'http' : 'https'}://${host}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
