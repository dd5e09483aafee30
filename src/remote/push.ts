/**
 * Uploads (distribution-spec, "Pushing blobs"). A small blob goes in one piece; a larger one in chunks,
 * and where a chunk is cut off the upload goes on from where the registry says it is. What another
 * repository of the same registry has is mounted from there, if the registry will.
 */

import { digestOf } from '../common/digest.js';
import { SiphonError, errorCode } from '../common/errors.js';
import { type Descriptor, describe } from './descriptor.js';
import type { Endpoint } from './endpoint.js';
import { expectStatus } from './http-answer.js';
import { type HttpRequestBody, type HttpResponse, bufferBody } from './http-exchange.js';
import { RemoteError, codeForStatus } from './remote-error.js';
import type { RepositoryHost } from './repository-host.js';
import { type ManifestTarget, type UploadBody, formatTarget, targetPath } from './target.js';

/** Bytes of one chunk, unless the registry wants longer ones. */
const CHUNK_SIZE = 16 * 1024 * 1024;
const nothing = bufferBody(Buffer.alloc(0));

/** Whether the repository has the blob. */
export async function hasBlob(
  endpoint: Endpoint,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<boolean> {
  const task = `look for blob "${endpoint.name}@${descriptor.digest}"`;
  return endpoint.attempt(task, { needs: 'pull', signal }, async (host, attemptSignal) => {
    const found = await isAt(host, descriptor, task, attemptSignal);
    const isLast = (await endpoint.hosts('pull')).at(-1) === host;
    if (found || isLast) return found;
    throw new SiphonError('not-found', `Cannot ${task}: "${host.name}" does not have it`);
  });
}

export interface PushBlobOptions {
  signal: AbortSignal;
  /** A repository of the same registry that has the blob, as far as is known. */
  mountFrom?: string;
}

/** Uploads unless the repository has it. The registry checks the digest. */
export async function pushBlob(
  endpoint: Endpoint,
  descriptor: Descriptor,
  body: UploadBody,
  { signal, mountFrom }: PushBlobOptions,
): Promise<void> {
  const task = `upload blob "${endpoint.name}@${descriptor.digest}"`;
  const bytes = descriptor.size;
  let session: UploadSession | undefined;
  await endpoint.attempt(task, { needs: 'push', signal, bytes }, async (host, attemptSignal) => {
    const upload = { host, descriptor, task, signal: attemptSignal };
    session = session && (await resumed(upload, session));
    if (session === undefined) {
      if (await isAt(host, descriptor, task, attemptSignal)) return;
      const begun = await opened(upload, mountFrom);
      if (begun === 'mounted') return;
      session = begun;
    }
    await transfer(upload, session, body);
  });
}

export interface PushedManifest {
  descriptor: Descriptor;
  /** The registry saw the `subject` and lists the manifest among its referrers itself. */
  subjectKnown: boolean;
}

/** @throws SiphonError `invalid` where `target` is a digest and not that of `bytes` */
export async function pushManifest(
  endpoint: Endpoint,
  target: ManifestTarget,
  bytes: Uint8Array,
  mediaType: string,
  signal: AbortSignal,
): Promise<PushedManifest> {
  const task = `upload manifest "${endpoint.name}${formatTarget(target)}"`;
  if ('digest' in target) checkOwnDigest(task, target.digest, bytes);
  return endpoint.attempt(task, { needs: 'push', signal }, async (host, attemptSignal) => {
    const response = await host.send({
      method: 'PUT',
      target: `manifests/${targetPath(target)}`,
      headers: { 'content-type': mediaType },
      body: bufferBody(bytes),
      access: 'push',
      signal: attemptSignal,
    });
    await expectStatus(response, [201], task);
    response.discard();
    const subjectKnown = response.header('oci-subject') !== undefined;
    return { descriptor: describe(bytes, mediaType), subjectKnown };
  });
}

/** An upload that the registry has begun; place and bytes change with each of its answers. */
interface UploadSession {
  location: URL;
  /** Bytes of one chunk; a blob of no more goes whole. */
  chunk: number;
  /** Bytes that the registry has. */
  offset: number;
}

interface Upload {
  host: RepositoryHost;
  descriptor: Descriptor;
  task: string;
  signal: AbortSignal;
}

async function isAt(
  host: RepositoryHost,
  { digest }: Descriptor,
  task: string,
  signal: AbortSignal,
): Promise<boolean> {
  const target = `blobs/${digest}`;
  const response = await host.send({ method: 'HEAD', target, access: 'pull', signal });
  await expectStatus(response, [200, 404], task);
  response.discard();
  return response.status === 200;
}

/** A registry may refuse to mount what it lets in as an upload: the login does not reach the other repository. */
async function opened(
  upload: Upload,
  mountFrom: string | undefined,
): Promise<UploadSession | 'mounted'> {
  if (mountFrom === undefined) return begun(await post(upload, ''), upload.task, [202]);
  const mount = new URLSearchParams({ mount: upload.descriptor.digest, from: mountFrom });
  try {
    return await begun(await post(upload, `?${mount.toString()}`), upload.task, [202, 201]);
  } catch (error) {
    const mayBeUploaded = ['unauthorized', 'not-found', 'unsupported', 'failed-precondition'];
    if (!mayBeUploaded.includes(errorCode(error) ?? '')) throw error;
    return opened(upload, undefined);
  }
}

function post({ host, signal }: Upload, query: string): Promise<HttpResponse> {
  const target = `blobs/uploads/${query}`;
  return host.send({ method: 'POST', target, body: nothing, access: 'push', signal });
}

async function begun(
  response: HttpResponse,
  task: string,
  expected: readonly number[],
): Promise<UploadSession | 'mounted'> {
  await expectStatus(response, expected, task);
  response.discard();
  if (response.status === 201) return 'mounted';
  return { location: uploadLocation(response, task), chunk: chunkSize(response), offset: 0 };
}

/** distribution-spec, "Pushing a blob in chunks": a registry may name the least that all chunks but the last have. */
function chunkSize(response: HttpResponse): number {
  const least = /^\d{1,15}$/.exec(response.header('oci-chunk-min-length') ?? '')?.[0];
  return Math.max(CHUNK_SIZE, Number(least ?? 0));
}

/** Where the upload stands by the registry's word; `undefined` where it is to begin anew. */
async function resumed(
  { host, descriptor, task, signal }: Upload,
  { location, chunk }: UploadSession,
): Promise<UploadSession | undefined> {
  if (descriptor.size <= chunk) return undefined;
  const response = await host.send({ method: 'GET', target: location, access: 'push', signal });
  const offset = receivedBytes(response);
  const isUsable = response.status === 204 && offset !== undefined && offset <= descriptor.size;
  // What is only for now says nothing about the upload.
  if (codeForStatus(response.status) === 'unavailable') await expectStatus(response, [204], task);
  response.discard();
  return isUsable ? { location: uploadLocation(response, task), chunk, offset } : undefined;
}

/** From where the session is to the end. Before each request the session says what is known for sure. */
async function transfer(upload: Upload, session: UploadSession, body: UploadBody): Promise<void> {
  const { host, descriptor, task, signal } = upload;
  const { size } = descriptor;
  const isWhole = size <= session.chunk;
  while (!isWhole && session.offset < size) await sendChunk(upload, session, body);
  const target = new URL(session.location);
  target.searchParams.set('digest', descriptor.digest);
  const rest = isWhole ? uploadBody(body, 0, size) : nothing;
  const headers = { 'content-type': 'application/octet-stream' };
  const request = { method: 'PUT', target, headers, body: rest, access: 'push' } as const;
  const response = await host.send({ ...request, signal });
  await expectStatus(response, [201], task);
  response.discard();
}

async function sendChunk(
  { host, descriptor, task, signal }: Upload,
  session: UploadSession,
  body: UploadBody,
): Promise<void> {
  const { offset } = session;
  const end = Math.min(offset + session.chunk, descriptor.size);
  const headers = {
    'content-type': 'application/octet-stream',
    'content-range': `${offset}-${end - 1}`,
  };
  const chunk = uploadBody(body, offset, end);
  const request = { method: 'PATCH', target: session.location, headers, body: chunk } as const;
  const response = await host.send({ ...request, access: 'push', signal });
  if (response.status !== 416) await expectStatus(response, [202], task);
  response.discard();
  if (response.status === 416) throw outOfStep(response, task);
  session.location = uploadLocation(response, task);
  const received = receivedBytes(response) ?? end;
  // Else the same chunk would be sent for ever.
  if (received <= offset || received > descriptor.size) throw outOfStep(response, task);
  session.offset = received;
}

/** The registry has more or less of the upload than we know, and is to be asked. */
function outOfStep(response: HttpResponse, task: string): RemoteError {
  const { host } = response.url;
  const message = `Cannot ${task}: "${host}" wants another chunk than the one that was sent`;
  return new RemoteError('unavailable', message, { status: response.status });
}

/** `Range: 0-<last>`; some registries answer `0-0` where they have nothing yet. */
function receivedBytes(response: HttpResponse): number | undefined {
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(response.header('range') ?? '')?.[1];
  if (last === undefined) return undefined;
  return last === '0' ? 0 : Number(last) + 1;
}

function uploadLocation(response: HttpResponse, task: string): URL {
  const location = response.header('location');
  const url = location === undefined ? null : URL.parse(location, response.url.href);
  if (url !== null && (url.protocol === 'https:' || url.protocol === 'http:')) return url;
  throw new SiphonError(
    'unavailable',
    `Cannot ${task}: "${response.url.host}" opens an upload without a usable location`,
  );
}

function uploadBody(body: UploadBody, start: number, end: number): HttpRequestBody {
  if (start === end) return nothing;
  if (typeof body === 'function') return { size: end - start, open: () => body(start, end) };
  return bufferBody(body.subarray(start, end));
}

function checkOwnDigest(task: string, expected: string, bytes: Uint8Array): void {
  const digest = digestOf(bytes);
  if (digest === expected) return;
  throw new SiphonError('invalid', `Cannot ${task}: the bytes have digest ${digest}`);
}
