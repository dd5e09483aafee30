/** Redirects of reads, as registries use them to hand out blobs from a storage service. */

import { SiphonError } from '../common/errors.js';
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
