/**
 * One HTTP request and its answer, over undici. Policies (redirects, authorization, retries) wrap an
 * {@link Exchange}. Every wait ends: connecting, waiting for headers and each gap in a body have their
 * limits, and whatever goes wrong is a SiphonError that names the host and shows no URL query.
 */

import { Readable } from 'node:stream';
import { rootCertificates } from 'node:tls';
import { type Dispatcher, Pool, ProxyAgent } from 'undici';
import { isDigest } from '../common/digest.js';
import { SiphonError, errorMessage } from '../common/errors.js';
import { rememberSecret } from '../common/secrets.js';
import { type TlsSettings, defaultTls } from './hosts-file.js';
import type { RemoteTimeouts } from './policy.js';
import { proxyFor } from './proxy.js';
import { type HostTraffic, countAnswer, countFailure, trafficOf } from './traffic.js';
import { RemoteError, clientClosed, connectionError } from './remote-error.js';
import { Watchdog, cancellation, orCancelled } from './watchdog.js';

export interface HttpRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  url: URL;
  /** Lower-case names. */
  headers?: Record<string, string>;
  body?: HttpRequestBody;
  /** Milliseconds until the answer's headers; default: {@link RemoteTimeouts.headers}. */
  patience?: number | undefined;
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
/** Bytes per second below which a body is as good as none. */
const SLOWEST_BODY = 1024;
/**
 * Milliseconds that a connection stays open for the next request, where the server says nothing else: a
 * handshake more is two round trips of a read that waits. One that the server closes meanwhile is not used,
 * and a request that crosses its end on the way is made again.
 */
const KEEP_ALIVE = 60_000;
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
    const key = proxy?.href ?? url.origin;
    const dispatcher = dispatchers.get(key) ?? openDispatcher(proxy ?? url.origin, timeouts, tls);
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

/**
 * Not undici's Agent for hosts that are reached straight: it forgets the connections of an origin as soon as
 * one ends while another begins, and from then on closes each after its first request.
 * @param to an origin, or a proxy to all
 */
function openDispatcher(to: string | URL, timeouts: RemoteTimeouts, tls: TlsSettings): Dispatcher {
  const timeout = timeouts.connect;
  const connect = { timeout, ...connectTls(tls) };
  const common = {
    connections: MAX_CONNECTIONS,
    keepAliveTimeout: KEEP_ALIVE,
    // The watchdog of each exchange does these, with better precision.
    headersTimeout: 0,
    bodyTimeout: 0,
  };
  if (typeof to === 'string') return new Pool(to, { ...common, connect });
  const { username, password } = loginOf(to);
  rememberSecret(password);
  rememberSecret(Buffer.from(`${username}:${password}`).toString('base64'));
  // Proxies tunnel to TLS ports only, as a rule; plain HTTP they pass on.
  const how = { proxyTls: { timeout }, requestTls: connect, proxyTunnel: false };
  return new ProxyAgent({ ...common, uri: to.href, ...how });
}

/** @throws SiphonError `usage`; its message shows nothing of the login */
export function loginOf({ username, password, host }: URL): { username: string; password: string } {
  try {
    return { username: decodeURIComponent(username), password: decodeURIComponent(password) };
  } catch {
    throw new SiphonError(
      'usage',
      `Cannot use the login in the URL of "${host}": it is malformed, expected % as %25`,
    );
  }
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
  rememberSecrets(request);
  const watchdog = new Watchdog(request.signal);
  const { host } = request.url;
  const { patience = timeouts.headers } = request;
  const watch = (): void =>
    watchdog.watch(patience, () => waitedTooLong(host, 'no answer', patience));
  const traffic = trafficOf(host);
  let bodyError: Error | undefined;
  const onPiece = (bytes: number): void => {
    traffic.sentBytes += bytes;
    watch();
  };
  const body =
    request.body && watched(request.body.open(), onPiece, (error) => (bodyError = error));
  const start = performance.now();
  try {
    watch();
    // undici hears of an abort only once it is connected.
    const asked = dispatcher.request({
      origin: request.url.origin,
      path: `${request.url.pathname}${request.url.search}`,
      method: request.method,
      headers: requestHeaders(request),
      body: body === undefined ? null : Readable.from(body),
      // Else a connection ends with each HEAD.
      reset: false,
      signal: watchdog.signal,
    });
    const answer = await orCancelled(asked, watchdog.signal);
    watchdog.rest();
    countAnswer(traffic, answer.statusCode, (performance.now() - start) / 1000);
    return toResponse(answer, request, { watchdog, timeouts, traffic });
  } catch (error) {
    countFailure(traffic);
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

/** Headers that anybody may see; others come from a login or a hosts file, where some name no more than a place. */
const OPEN_HEADERS = /^(?:accept.*|content-.*|range|user-agent)$/;
const SECRET_HEADERS = /auth|cookie|token|key|secret|passw|signature/;
/** What siphon itself asks for in queries; the rest of them is of URLs that were given to it. */
const OPEN_PARAMETERS = /^(?:account|artifacttype|digest|from|mount|ns|scope|service)$/i;
/** Shorter values of given URLs and headers are versions, dates, regions and the like. */
const SIGNATURE_LENGTH = 16;

/** What is sent to be let in: nobody is to be shown it, whoever quotes it. */
function rememberSecrets({ url, headers = {} }: HttpRequest): void {
  const { authorization = '' } = headers;
  const value = authorization.replace(/^\S+\s+/, '');
  rememberSecret(value);
  if (/^basic\s/i.test(authorization)) {
    const pair = Buffer.from(value, 'base64').toString('utf8');
    rememberSecret(pair.replace(/^[^:]*:/, ''));
  }
  for (const [name, text] of Object.entries(headers)) {
    const isTelling = text.length >= SIGNATURE_LENGTH || SECRET_HEADERS.test(name);
    if (isTelling && !OPEN_HEADERS.test(name)) rememberSecret(text);
  }
  const given = [...url.searchParams].filter(([name]) => !OPEN_PARAMETERS.test(name));
  if (given.length > 0) rememberSecret(url.search);
  for (const [, text] of given) {
    if (text.length >= SIGNATURE_LENGTH && !isDigest(text)) rememberSecret(text);
  }
}

/** What goes with an answer while its body comes. */
interface Reception {
  watchdog: Watchdog;
  timeouts: RemoteTimeouts;
  traffic: HostTraffic;
}

function toResponse(
  answer: Dispatcher.ResponseData,
  request: HttpRequest,
  reception: Reception,
): HttpResponse {
  const { watchdog, timeouts } = reception;
  // Destroyed before anybody listens, a body would end the process with an unhandled event.
  answer.body.on('error', () => {});
  return {
    status: answer.statusCode,
    url: request.url,
    header: (name) => {
      const value = answer.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    body: guardedBody(answer.body, request.url.host, reception),
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

/**
 * Ends where the body stands still, or all but does: what is left to wait is {@link RemoteTimeouts.idle} at
 * most; waiting takes from it, and every byte gives back what it may take at the slowest rate.
 */
async function* guardedBody(
  body: Dispatcher.ResponseData['body'],
  host: string,
  { watchdog, timeouts, traffic }: Reception,
): AsyncGenerator<Uint8Array> {
  let patience = timeouts.idle;
  let waiting = performance.now();
  const watch = (): void => {
    waiting = performance.now();
    watchdog.watch(patience, () => tooSlow(host, timeouts.idle));
  };
  try {
    watch();
    for await (const chunk of body) {
      watchdog.rest();
      // undici's body yields buffers as long as no encoding is set; its type says `any`.
      const bytes = chunk as Buffer;
      traffic.receivedBytes += bytes.length;
      const left = patience - (performance.now() - waiting);
      patience = Math.min(timeouts.idle, left + (bytes.length / SLOWEST_BODY) * 1000);
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
  onPiece: (bytes: number) => void,
  onError: (error: Error) => void,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of body) {
      onPiece(piece.byteLength);
      yield piece;
    }
    onPiece(0);
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

function tooSlow(host: string, milliseconds: number): RemoteError {
  const what = `a body of less than ${SLOWEST_BODY} bytes per second`;
  return waitedTooLong(host, what, milliseconds);
}

function waitedTooLong(host: string, what: string, milliseconds: number): RemoteError {
  return new RemoteError('timeout', `Cannot reach "${host}": ${what} for ${milliseconds / 1000} s`);
}
