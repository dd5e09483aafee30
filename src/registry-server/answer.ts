/** Writing answers: JSON, errors as the distribution specification has them, files by ranges. */

import { createReadStream } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { selectRange } from './byte-range.js';

/** Of one server since it started. Bytes are those of bodies handed to sockets. */
export interface ServerStats {
  requests: number;
  bytesSent: number;
  /** Part of `bytesSent` that came from the blobs end point. */
  blobBytesSent: number;
}

/** One request and where its answer goes. */
export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  stats: ServerStats;
}

export interface ErrorAnswer {
  status: number;
  /** distribution-spec, "Error Codes". */
  code: string;
  message: string;
}

export interface FileAnswer {
  path: string;
  size: number;
  headers: Record<string, string>;
}

/** Bytes of a file read at once. */
const READ_SIZE = 256 * 1024;

export function answerBytes(
  exchange: Exchange,
  bytes: Uint8Array,
  headers: Record<string, string>,
  status = 200,
): void {
  const { request, response, stats } = exchange;
  response.writeHead(status, { ...headers, 'content-length': String(bytes.byteLength) });
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  stats.bytesSent += bytes.byteLength;
  response.end(bytes);
}

export function answerJson(
  exchange: Exchange,
  value: unknown,
  headers: Record<string, string> = {},
): void {
  const bytes = Buffer.from(JSON.stringify(value));
  answerBytes(exchange, bytes, { 'content-type': 'application/json', ...headers });
}

export function answerError(exchange: Exchange, { status, code, message }: ErrorAnswer): void {
  const bytes = Buffer.from(JSON.stringify({ errors: [{ code, message }] }));
  answerBytes(exchange, bytes, { 'content-type': 'application/json' }, status);
}

/** The file, or the range of it that is asked for: 200, 206 or 416. Ends when all is sent. */
export async function answerBlob(exchange: Exchange, file: FileAnswer): Promise<void> {
  const { request, response } = exchange;
  const headers = { ...file.headers, 'accept-ranges': 'bytes' };
  // Range is defined for GET only (RFC 9110, 14.2).
  const range = selectRange(
    request.method === 'GET' ? rangeHeader(exchange, file) : undefined,
    file.size,
  );
  if (range.kind === 'unsatisfiable') {
    response.writeHead(416, {
      ...headers,
      'content-range': `bytes */${file.size}`,
      'content-length': '0',
    });
    response.end();
    return;
  }
  const { first, last } = range.kind === 'part' ? range : { first: 0, last: file.size - 1 };
  response.writeHead(range.kind === 'part' ? 206 : 200, {
    ...headers,
    ...(range.kind === 'part' ? { 'content-range': `bytes ${first}-${last}/${file.size}` } : {}),
    'content-length': String(last - first + 1),
  });
  if (request.method === 'HEAD' || last < first) {
    response.end();
    return;
  }
  await sendFile(exchange, file.path, first, last);
}

/** A range under a condition counts only while the content is the same (RFC 9110, 13.1.5). */
function rangeHeader({ request }: Exchange, file: FileAnswer): string | undefined {
  const condition = request.headers['if-range'];
  if (condition !== undefined && condition !== file.headers['etag']) return undefined;
  return request.headers.range;
}

async function sendFile(
  { response, stats }: Exchange,
  path: string,
  first: number,
  last: number,
): Promise<void> {
  const file = createReadStream(path, { start: first, end: last, highWaterMark: READ_SIZE });
  file.on('data', (chunk) => {
    stats.bytesSent += chunk.length;
    stats.blobBytesSent += chunk.length;
  });
  await pipeline(file, response);
}
