/** Reading answers: bounded bodies, and the error that a status which is no success stands for. */

import { z } from 'zod';
import { SiphonError } from '../common/errors.js';
import { foreignText } from './foreign-text.js';
import type { HttpResponse } from './http-exchange.js';
import { RemoteError, codeForStatus } from './remote-error.js';

/** Longest error document that is looked at, in bytes. */
const MAX_ERROR_BODY = 16 * 1024;

const errorDocument = z.object({
  errors: z.array(z.object({ code: z.string().optional(), message: z.string().optional() })).min(1),
});

/**
 * The whole body.
 * @param thing for the message: `manifest "example.org/app:1"`
 * @throws SiphonError `invalid` where it is longer than `limit` bytes
 */
export async function readBody(
  response: HttpResponse,
  limit: number,
  thing: string,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body) {
    size += chunk.byteLength;
    if (size > limit) {
      throw new SiphonError(
        'invalid',
        `Cannot read ${thing}: it is too long, expected at most ${limit} bytes`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

/**
 * @param task what is being done, as in `Cannot <task>: …`
 * @throws SiphonError for any status not in `expected`: `not-found`, `unauthorized`, `unavailable`, …
 */
export async function expectStatus(
  response: HttpResponse,
  expected: readonly number[],
  task: string,
): Promise<void> {
  if (expected.includes(response.status)) return;
  throw await statusError(response, expected, task);
}

async function statusError(
  response: HttpResponse,
  expected: readonly number[],
  task: string,
): Promise<RemoteError> {
  const code = codeForStatus(response.status);
  const detail = await errorDetail(response);
  const retryAfter = parseRetryAfter(response.header('retry-after'), Date.now());
  return new RemoteError(
    code,
    `Cannot ${task}: "${response.url.host}" answers ${response.status}${detail}, expected ${expected.join(' or ')}`,
    {
      status: response.status,
      ...(retryAfter === undefined ? {} : { retryAfter }),
      ...(code === 'unauthorized'
        ? { hint: `Log in with: docker login ${response.url.host}` }
        : {}),
    },
  );
}

/** What the registry says about the error, in parentheses, or nothing. */
async function errorDetail(response: HttpResponse): Promise<string> {
  try {
    const body = await readBody(response, MAX_ERROR_BODY, 'error answer');
    const error = errorDocument.parse(JSON.parse(body.toString('utf8'))).errors[0];
    const text = [error?.code, error?.message].filter(Boolean).join(': ');
    return text === '' ? '' : ` (${foreignText(text)})`;
  } catch {
    // The status alone says enough; a page of HTML or a cut body adds nothing.
    return '';
  }
}

/** Milliseconds from `now` (ms since the epoch) that a `Retry-After` asks for (RFC 9110, 10.2.3). */
export function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
