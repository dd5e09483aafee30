/** Redirects of reads, as registries use them to hand out blobs from a storage service. */

import { SiphonError, errorCode } from '../common/errors.js';
import type { Exchange, HttpRequest, HttpResponse } from './http-exchange.js';

const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Follows redirects of GET and HEAD. `authorization` is sent to the origin it was meant for only, and
 * not again once another origin was visited.
 * @throws (when called) SiphonError `unavailable` for a redirect to nowhere or without end
 */
export function followingRedirects(exchange: Exchange): Exchange {
  return async (request) => {
    let current = request;
    for (let hops = 0; ; hops += 1) {
      const response = await exchange(current);
      if (!isRedirect(current, response)) return response;
      response.discard();
      if (hops === MAX_REDIRECTS) {
        throw refused(request, `more than ${MAX_REDIRECTS} redirects`);
      }
      current = redirected(current, redirectTarget(request, response));
    }
  };
}

/** GETs of one thing that go straight to where the last of them was redirected to. */
export interface RememberedTarget {
  get: (headers: Record<string, string>, signal: AbortSignal) => Promise<HttpResponse>;
  /** What came from there was no use: the next request finds the target anew. */
  forget: () => void;
}

/**
 * The thing at `url`; only another origin is remembered, and is asked without authorization. A target that
 * refuses, as storage services do with 403 or 400 once a signature is too old, or that is in trouble, is
 * found anew by way of `url` at once; one that cannot be talked to, by the next request.
 */
export function rememberingTarget(exchange: Exchange, url: URL): RememberedTarget {
  let target: URL | undefined;
  const forget = (used: URL): void => {
    // Another request may have found a new one meanwhile.
    if (target === used) target = undefined;
  };
  const askTarget = async (request: HttpRequest): Promise<HttpResponse | undefined> => {
    try {
      const response = await exchange(request);
      if (!isRefusal(response.status)) return response;
      response.discard();
    } catch (error) {
      // That nobody waits any more says nothing about the target.
      if (errorCode(error) !== 'cancelled') forget(request.url);
      throw error;
    }
    forget(request.url);
    return undefined;
  };
  const get: RememberedTarget['get'] = async (headers, signal) => {
    const request = { method: 'GET', headers, signal } as const;
    const known = target && (await askTarget({ ...request, url: target }));
    if (known !== undefined) return known;
    const response = await exchange({ ...request, url });
    const isSuccess = response.status === 200 || response.status === 206;
    if (isSuccess && response.url.origin !== url.origin) target = response.url;
    return response;
  };
  return { get, forget: () => (target = undefined) };
}

/** An answer that says no more than that this URL is not the right one, or not any more, or not now. */
function isRefusal(status: number): boolean {
  return status >= 400 && status !== 416 && status !== 429;
}

function isRedirect(request: HttpRequest, response: HttpResponse): boolean {
  return (request.method === 'GET' || request.method === 'HEAD') && REDIRECTS.has(response.status);
}

function redirected(request: HttpRequest, url: URL): HttpRequest {
  if (url.origin === request.url.origin) return { ...request, url };
  const { authorization: _, ...headers } = request.headers ?? {};
  return { ...request, url, headers };
}

function redirectTarget(request: HttpRequest, response: HttpResponse): URL {
  const location = response.header('location');
  const url = location === undefined ? null : URL.parse(location, response.url.href);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw refused(request, 'a redirect without a usable location');
  }
  return url;
}

function refused(request: HttpRequest, what: string): SiphonError {
  const { origin, pathname } = request.url;
  return new SiphonError(
    'unavailable',
    `Cannot read "${origin}${pathname}": the server answers with ${what}`,
  );
}
