/** A layer tar at a plain http(s) URL. */

import { SiphonError } from '../common/errors.js';
import { parseContentRange } from './content-range.js';
import { expectStatus } from './http-answer.js';
import { type Exchange, type HttpResponse, loginOf, openHttpClient } from './http-exchange.js';
import { type RemoteTimeouts, type RetryPolicy, defaultRetry, defaultTimeouts } from './policy.js';
import { type RangeListener, RangedBlob, responseValidator } from './ranged-blob.js';
import { followingRedirects } from './redirects.js';
import { withRetries } from './retry.js';
import { basicHeader } from './token.js';

export interface HttpBlobOptions {
  timeouts?: Partial<RemoteTimeouts>;
  retry?: Partial<RetryPolicy>;
  /** Is told of what fails and is tried again. */
  onFailure?: (error: unknown) => void;
  /** Is told of each range that came. */
  onRange?: RangeListener;
}

/**
 * Asks the server for size and support of ranges. Where it has none, `stream` works and `read` throws
 * `unsupported` beyond the first MiB. User and password in the URL are sent as Basic authorization.
 * @throws SiphonError `usage` for no such URL; `unsupported` where the server names no size
 */
export async function openHttpBlob(
  url: string,
  signal: AbortSignal,
  options: HttpBlobOptions = {},
): Promise<RangedBlob> {
  const { onFailure, onRange } = options;
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  const retry = { ...defaultRetry, ...options.retry };
  const onRetry = (error: unknown): void => onFailure?.(error);
  const target = parseTarget(url);
  const client = openHttpClient(timeouts);
  const get = getter(followingRedirects(client.exchange), target);
  const task = `read "${target.name}"`;
  try {
    const probed = await withRetries({ timeouts, retry, signal, task, onRetry }, (attemptSignal) =>
      probe(get, target.name, attemptSignal),
    );
    return new RangedBlob({
      name: target.name,
      ...probed,
      hosts: () => Promise.resolve([{ name: target.url.host, get }]),
      timeouts,
      retry,
      onRetry,
      onRange,
      close: () => client.close(),
    });
  } catch (error) {
    await client.close();
    throw error;
  }
}

interface Target {
  /** Without credentials and query. */
  name: string;
  url: URL;
  headers: Record<string, string>;
}

type Get = (headers: Record<string, string>, signal: AbortSignal) => Promise<HttpResponse>;

function parseTarget(text: string): Target {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new SiphonError(
      'usage',
      'Cannot read URL: it is malformed, expected http:// or https://',
    );
  }
  const login = loginOf(url);
  const headers: Record<string, string> =
    login.username === '' ? {} : { authorization: basicHeader(login) };
  url.username = '';
  url.password = '';
  url.hash = '';
  return { name: `${url.origin}${url.pathname}`, url, headers };
}

function getter(exchange: Exchange, target: Target): Get {
  return (headers, signal) =>
    exchange({
      method: 'GET',
      url: target.url,
      headers: { ...target.headers, ...headers },
      signal,
    });
}

/** Asks for the first byte: unlike HEAD, the answer shows what ranges come to. */
async function probe(
  get: Get,
  name: string,
  signal: AbortSignal,
): Promise<{ size: number; validator?: string }> {
  const response = await get({ range: 'bytes=0-0' }, signal);
  await expectStatus(response, [206, 200, 416], `read "${name}"`);
  response.discard();
  const size = sizeOf(response);
  const validator = responseValidator(response);
  if (size !== undefined) return { size, ...(validator === undefined ? {} : { validator }) };
  throw new SiphonError(
    'unsupported',
    `Cannot read "${name}": "${response.url.host}" does not say how long it is`,
  );
}

/** An empty file has no first byte: status 416, and a total of 0. */
function sizeOf(response: HttpResponse): number | undefined {
  if (response.status !== 200) return parseContentRange(response.header('content-range'))?.total;
  const length = response.header('content-length');
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}
