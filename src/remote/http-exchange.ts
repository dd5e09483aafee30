/**
 * One HTTP request and its answer, over undici. Policies (redirects, authorization, retries) wrap an
 * {@link Exchange}. Every wait ends: connecting, waiting for headers and each gap in a body have their
 * limits, and whatever goes wrong is a SiphonError that names the host and shows no URL query.
 */

import { Readable } from 'node:stream';
import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import { SiphonError, errorMessage } from '../common/errors.js';
import { type TlsSettings, defaultTls } from './hosts-file.js';
import type { RemoteTimeouts } from './policy.js';
import { proxyFor } from './proxy.js';
import { traffic } from './traffic.js';
import { RemoteError, clientClosed, connectionError } from './remote-error.js';
import { Watchdog, cancellation, orCancelled } from './watchdog.js';

export interface HttpRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  url: URL;
  /** Lower-case names. */
  headers?: Record<string, string>;
  body?: HttpRequestBody;
  signal: AbortSignal;
}

/** `open` is called for each time the body is sent. */
export interface HttpRequestBody {
  size: number;
  open: () => AsyncIterable<Uint8Array>;
}

/** Either {@link body} is iterated or {@link discard} is called; both free the connection. */
export interface HttpResponse {
  status: number;
  /** The URL that answered, after redirects. */
  url: URL;
  header(name: string): string | undefined;
  body: AsyncIterable<Uint8Array>;
  discard(): void;
}

export type Exchange = (request: HttpRequest) => Promise<HttpResponse>;

/** Connections to one host at once; further requests queue. */
const MAX_CONNECTIONS = 64;
/** Piece of a buffer that is handed to the socket at once, in bytes. */
const UPLOAD_PIECE = 64 * 1024;
/** Bytes of an unwanted body that are read to keep its connection. */
const DISCARD_LIMIT = 64 * 1024;

export interface HttpClient {
  exchange: Exchange;
  /** Ends running requests too. */
  close(): Promise<void>;
}

/** Connects straight or through the proxies of the environment; every host is spoken to by `tls`. */
export function openHttpClient(
  timeouts: RemoteTimeouts,
  tls: TlsSettings = defaultTls,
): HttpClient {
  const dispatchers = new Map<string, Dispatcher>();
  let isClosed = false;
  const dispatcherFor = (url: URL): Dispatcher => {
    if (isClosed) throw clientClosed(url.host);
    const proxy = proxyFor(url);
    const key = proxy?.href ?? '';
    const dispatcher = dispatchers.get(key) ?? openDispatcher(proxy, timeouts, tls);
    dispatchers.set(key, dispatcher);
    return dispatcher;
  };
  return {
    exchange: async (request) => exchange(dispatcherFor(request.url), timeouts, request),
    close: async () => {
      isClosed = true;
      await Promise.all([...dispatchers.values()].map((one) => one.destroy()));
    },
  };
}

function openDispatcher(
  proxy: URL | undefined,
  timeouts: RemoteTimeouts,
  tls: TlsSettings,
): Dispatcher {
  const timeout = timeouts.connect;
  const connect = { timeout, ...connectTls(tls) };
  const common = {
    connections: MAX_CONNECTIONS,
    // The watchdog of each exchange does these, with better precision.
    headersTimeout: 0,
    bodyTimeout: 0,
  };
  if (proxy === undefined) return new Agent({ ...common, connect });
  // Proxies tunnel to TLS ports only, as a rule; plain HTTP they pass on.
  const how = { proxyTls: { timeout }, requestTls: connect, proxyTunnel: false };
  return new ProxyAgent({ ...common, uri: proxy.href, ...how });
}

function connectTls({ verify, authorities, clients }: TlsSettings): object {
  return {
    rejectUnauthorized: verify,
    ...(authorities.length === 0 ? {} : { ca: [...rootCertificates, ...authorities] }),
    ...(clients.length === 0
      ? {}
      : { cert: clients.map(({ cert }) => cert), key: clients.map(({ key }) => key) }),
  };
}

/** A request body over bytes in memory. */
export function bufferBody(bytes: Uint8Array): HttpRequestBody {
  return { size: bytes.byteLength, open: () => pieces(bytes) };
}

async function exchange(
  dispatcher: Dispatcher,
  timeouts: RemoteTimeouts,
  request: HttpRequest,
): Promise<HttpResponse> {
  const watchdog = new Watchdog(request.signal);
  const { host } = request.url;
  const watch = (): void =>
    watchdog.watch(timeouts.headers, () => waitedTooLong(host, 'no answer', timeouts.headers));
  let bodyError: Error | undefined;
  const body = request.body && watched(request.body.open(), watch, (error) => (bodyError = error));
  try {
    watch();
    traffic.requests += 1;
    // undici hears of an abort only once it is connected.
    const asked = dispatcher.request({
      origin: request.url.origin,
      path: `${request.url.pathname}${request.url.search}`,
      method: request.method,
      headers: requestHeaders(request),
      body: body === undefined ? null : Readable.from(body),
      signal: watchdog.signal,
    });
    const answer = await orCancelled(asked, watchdog.signal);
    watchdog.rest();
    return toResponse(answer, request, watchdog, timeouts);
  } catch (error) {
    watchdog[Symbol.dispose]();
    if (bodyError !== undefined) throw bodyError;
    throw failure(error, host, watchdog.signal);
  }
}

function requestHeaders(request: HttpRequest): Record<string, string> {
  return {
    'user-agent': 'siphon',
    // Bytes are verified as they are stored; a transfer encoding would change them.
    'accept-encoding': 'identity',
    ...request.headers,
    ...(request.body === undefined ? {} : { 'content-length': String(request.body.size) }),
  };
}

function toResponse(
  answer: Dispatcher.ResponseData,
  request: HttpRequest,
  watchdog: Watchdog,
  timeouts: RemoteTimeouts,
): HttpResponse {
  // Destroyed before anybody listens, a body would end the process with an unhandled event.
  answer.body.on('error', () => {});
  return {
    status: answer.statusCode,
    url: request.url,
    header: (name) => {
      const value = answer.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    body: guardedBody(answer.body, request.url.host, watchdog, timeouts),
    discard: () => {
      watchdog.watch(timeouts.idle, () =>
        waitedTooLong(request.url.host, 'silence', timeouts.idle),
      );
      void answer.body
        .dump({ limit: DISCARD_LIMIT })
        .catch(() => {})
        .finally(() => watchdog[Symbol.dispose]());
    },
  };
}

async function* guardedBody(
  body: Dispatcher.ResponseData['body'],
  host: string,
  watchdog: Watchdog,
  timeouts: RemoteTimeouts,
): AsyncGenerator<Uint8Array> {
  const watch = (): void =>
    watchdog.watch(timeouts.idle, () =>
      waitedTooLong(host, 'silence amid the body', timeouts.idle),
    );
  try {
    watch();
    for await (const chunk of body) {
      watchdog.rest();
      // undici's body yields buffers as long as no encoding is set; its type says `any`.
      const bytes = chunk as Buffer;
      traffic.receivedBytes += bytes.length;
      yield bytes;
      watch();
    }
  } catch (error) {
    throw failure(error, host, watchdog.signal);
  } finally {
    watchdog[Symbol.dispose]();
    body.destroy();
  }
}

/**
 * Each piece that the socket takes starts the wait for an answer anew. What the body's own source
 * throws is told apart from what the connection does.
 */
async function* watched(
  body: AsyncIterable<Uint8Array>,
  watch: () => void,
  onError: (error: Error) => void,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of body) {
      watch();
      yield piece;
    }
    watch();
  } catch (error) {
    onError(error instanceof Error ? error : new Error(errorMessage(error)));
    throw error;
  }
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += UPLOAD_PIECE) {
    yield bytes.subarray(start, start + UPLOAD_PIECE);
  }
}

function failure(error: unknown, host: string, signal: AbortSignal): SiphonError {
  if (signal.aborted) return cancellation(signal);
  if (error instanceof SiphonError) return error;
  return connectionError(host, error);
}

function waitedTooLong(host: string, what: string, milliseconds: number): RemoteError {
  return new RemoteError('timeout', `Cannot reach "${host}": ${what} for ${milliseconds / 1000} s`);
}
