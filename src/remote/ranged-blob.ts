/**
 * A blob behind HTTP as addressable bytes. A read is one range request, and an answer is believed only
 * if it says that it holds exactly the bytes asked for. A server that ignores ranges sends the whole:
 * then a read near the start takes its part and hangs up, and any other is refused, since each would
 * cost the whole blob. A stream that breaks goes on where it stopped.
 */

import type { BlobSource } from '../common/blob-source.js';
import { SiphonError, errorCode } from '../common/errors.js';
import { formatContentRange, parseContentRange } from './content-range.js';
import { eachHost } from './failover.js';
import { expectStatus } from './http-answer.js';
import { foreignText } from './foreign-text.js';
import { type WatchedHost, noteFailure } from './host-health.js';
import type { HttpResponse } from './http-exchange.js';
import type { TimedRange } from './link-cost.js';
import type { RemoteTimeouts, RetryPolicy } from './policy.js';
import { RemoteError, isRetryable } from './remote-error.js';
import { pause, retryDelay, withRetries } from './retry.js';
import { throwIfCancelled } from './watchdog.js';

export interface BlobHost extends WatchedHost {
  /** One GET of the blob with these headers besides; any status. */
  get: (headers: Record<string, string>, signal: AbortSignal) => Promise<HttpResponse>;
  /** What came was of no use: the way to the blob is to be found anew. */
  forget?: () => void;
}

export interface RangedBlobOptions {
  name: string;
  /** Bytes. */
  size: number;
  /** Those that have it, in the order of preference. */
  hosts: () => Promise<readonly BlobHost[]>;
  timeouts: RemoteTimeouts;
  retry: RetryPolicy;
  /** `ETag` or `Last-Modified` that answers must have where they have one. */
  validator?: string;
  /** How many hosts are passed over first. */
  rejected?: number;
  onRetry?: (error: unknown, attempt: number) => void;
  /** Is told of each range that came. */
  onRange?: RangeListener | undefined;
  close?: () => Promise<void>;
}

/** Is told of a request that brought bytes. */
export type RangeListener = (range: TimedRange) => void;

/** Bytes from the start of a whole body that are read for the sake of a range within them. */
const CHEAP_PREFIX = 1024 * 1024;

/** Bytes that must come between two failures of a stream for the second to be a first one. */
const PROGRESS = 64 * 1024;

export class RangedBlob implements BlobSource {
  readonly name: string;
  readonly size: number;
  readonly local = false;
  /** `ETag` or `Last-Modified` when it was opened: names the version that reads hold on to. */
  readonly validator: string | undefined;
  readonly #options: RangedBlobOptions;

  constructor(options: RangedBlobOptions) {
    this.name = options.name;
    this.size = options.size;
    this.validator = options.validator;
    this.#options = options;
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    this.#checkBounds(offset, length);
    throwIfCancelled(signal);
    const bytes = Buffer.allocUnsafe(length);
    if (length === 0) return bytes;
    const context = { ...this.#options, signal, task: `read "${this.name}"`, bytes: length };
    // What has come before a connection broke is not asked for again.
    let done = 0;
    await withRetries(context, (attemptSignal) =>
      this.#atEachHost(0, attemptSignal, async (host) => {
        const rest = bytes.subarray(done);
        const came = (count: number): void => void (done += count);
        try {
          await this.#readFrom(host, { offset: offset + done, rest, came }, attemptSignal);
        } catch (error) {
          // What came of it may be as wrong as its end.
          if (errorCode(error) === 'corrupt') done = 0;
          throw error;
        }
      }),
    );
    return bytes;
  }

  /** Fills `rest` from one host. */
  async #readFrom(
    host: BlobHost,
    { offset, rest, came }: { offset: number; rest: Buffer; came: (bytes: number) => void },
    signal: AbortSignal,
  ): Promise<void> {
    const sentAt = performance.now();
    const response = await this.#open(host, offset, offset + rest.length - 1, signal);
    const beganAt = performance.now();
    const skip = response.status === 206 ? 0 : offset;
    if (skip + rest.length > CHEAP_PREFIX && response.status !== 206)
      throw this.#noRanges(response);
    await this.#take(response, { skip, rest, came });
    const endedAt = performance.now();
    this.#options.onRange?.({ bytes: rest.length, sentAt, beganAt, endedAt });
  }

  async *stream(signal: AbortSignal, from = 0): AsyncGenerator<Uint8Array> {
    const { retry, onRetry } = this.#options;
    let done = from;
    let failures = 0;
    let failedAt = done;
    while (done < this.size) {
      throwIfCancelled(signal);
      try {
        for await (const chunk of this.#rest(done, signal, failures)) {
          done += chunk.byteLength;
          if (done - failedAt >= PROGRESS) failures = 0;
          yield chunk;
        }
      } catch (error) {
        failures += 1;
        failedAt = done;
        const isLast = failures >= (await this.#options.hosts()).length;
        const isFinal = !isRetryable(error) || failures >= retry.attempts;
        if (signal.aborted || (isLast && isFinal)) throw error;
        onRetry?.(error, failures);
        if (isLast) await pause(retryDelay(retry, failures, error), signal);
      }
    }
  }

  elsewhere(rejected: number): RangedBlob {
    return new RangedBlob({ ...this.#options, rejected });
  }

  async close(): Promise<void> {
    await this.#options.close?.();
  }

  /** From `done` to the end, in one request. */
  async *#rest(done: number, signal: AbortSignal, skip: number): AsyncGenerator<Uint8Array> {
    const last = done === 0 ? undefined : this.size - 1;
    const { host, response } = await this.#atEachHost(skip, signal, async (asked) => ({
      host: asked,
      response: await this.#open(asked, done, last, signal),
    }));
    let position = response.status === 206 ? done : 0;
    try {
      for await (const chunk of response.body) {
        const fresh = chunk.subarray(Math.max(0, done - position));
        position += chunk.byteLength;
        if (position > this.size) throw this.#wrong(`more than ${this.size} bytes`);
        if (fresh.byteLength > 0) yield fresh;
      }
      if (position < this.size) throw this.#wrong(`an end after ${position} of ${this.size} bytes`);
    } catch (error) {
      throwIfCancelled(signal);
      host.forget?.();
      noteFailure(host, error);
      throw error;
    }
  }

  async #atEachHost<T>(
    failures: number,
    signal: AbortSignal,
    attempt: (host: BlobHost) => Promise<T>,
  ): Promise<T> {
    const { hosts, onRetry, rejected = 0 } = this.#options;
    const context = { task: `read "${this.name}"`, signal, skip: rejected + failures };
    const onFailure = onRetry === undefined ? {} : { onFailure: onRetry };
    return eachHost(await hosts(), { ...context, ...onFailure }, async (host) => {
      try {
        return await attempt(host);
      } catch (error) {
        if (errorCode(error) !== 'cancelled') host.forget?.();
        throw error;
      }
    });
  }

  /** An answer with status 200 or 206 whose headers fit the blob and the range. */
  async #open(
    host: BlobHost,
    first: number,
    last: number | undefined,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const headers: Record<string, string> =
      last === undefined ? {} : { range: `bytes=${first}-${last}` };
    const response = await host.get(headers, signal);
    const expected = last === undefined ? [200] : [206, 200];
    await expectStatus(response, expected, `read "${this.name}"`);
    if (response.status === 206 && hasOtherForm(response)) throw this.#noRanges(response);
    const problem = this.#headerProblem(response, first, last);
    if (problem === undefined) return response;
    response.discard();
    throw this.#wrong(problem);
  }

  #headerProblem(
    response: HttpResponse,
    first: number,
    last: number | undefined,
  ): string | undefined {
    const encoding = response.header('content-encoding');
    if (encoding !== undefined && encoding !== 'identity')
      return `encoding "${foreignText(encoding)}"`;
    const validator = responseValidator(response);
    const { validator: opened } = this.#options;
    if (opened !== undefined && validator !== undefined && validator !== opened) {
      return 'other content than when it was opened';
    }
    if (response.status === 200) {
      const length = response.header('content-length');
      const fits = length === undefined || Number(length) === this.size;
      return fits ? undefined : `${length} bytes instead of ${this.size}`;
    }
    const parsed = parseContentRange(response.header('content-range'));
    const rangeFits = parsed?.range?.first === first && parsed.range.last === last;
    const totalFits = parsed?.total === undefined || parsed.total === this.size;
    if (rangeFits && totalFits) return undefined;
    const got = parsed === undefined ? 'no range' : `range "${formatContentRange(parsed)}"`;
    return `${got} instead of "bytes ${first}-${last}/${this.size}"`;
  }

  /** Fills `rest` with what follows the first `skip` bytes of the body. */
  async #take(
    response: HttpResponse,
    { skip, rest, came }: { skip: number; rest: Buffer; came: (bytes: number) => void },
  ): Promise<void> {
    const end = skip + rest.length;
    let position = 0;
    for await (const chunk of response.body) {
      const from = Math.max(skip, position);
      const to = Math.min(end, position + chunk.byteLength);
      if (from < to) {
        rest.set(chunk.subarray(from - position, to - position), from - skip);
        came(to - from);
      }
      position += chunk.byteLength;
      if (response.status === 206 && position > end)
        throw this.#wrong(`more than ${rest.length} bytes`);
      if (position >= end && response.status === 200) break;
    }
    if (position < end) throw this.#wrong(`${position} bytes instead of ${end}`);
  }

  #checkBounds(offset: number, length: number): void {
    const end = offset + length;
    if (offset >= 0 && length >= 0 && Number.isSafeInteger(end) && end <= this.size) return;
    throw new SiphonError(
      'invalid',
      `Cannot read "${this.name}": bytes ${offset} to ${end} asked for, expected within 0 to ${this.size}`,
    );
  }

  #noRanges(response: HttpResponse): SiphonError {
    response.discard();
    return new SiphonError(
      'unsupported',
      `Cannot read "${this.name}" in parts: "${response.url.host}" ${response.status === 206 ? 'sends them in a form of its own' : 'ignores byte ranges'}, expected status 206 and the bytes as they are`,
    );
  }

  #wrong(got: string): RemoteError {
    return new RemoteError('corrupt', `Cannot read "${this.name}": the server sends ${got}`);
  }
}

/** Several ranges where one was asked for, or coded bytes: so it will be each time. */
function hasOtherForm(response: HttpResponse): boolean {
  const isMultipart = response.header('content-type')?.startsWith('multipart/') === true;
  return isMultipart || (response.header('content-encoding') ?? 'identity') !== 'identity';
}

/** What names the version of the content, if anything does. */
export function responseValidator(response: HttpResponse): string | undefined {
  return response.header('etag') ?? response.header('last-modified');
}
