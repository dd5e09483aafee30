/** Uploads: blobs in one piece after an upload was opened, manifests by tag or digest. */

import { digestOf } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { type Descriptor, describe } from './descriptor.js';
import type { Endpoint } from './endpoint.js';
import { expectStatus } from './http-answer.js';
import { type HttpRequestBody, type HttpResponse, bufferBody } from './http-exchange.js';
import { type ManifestTarget, type UploadBody, formatTarget, targetPath } from './target.js';

/** Whether the repository has the blob. */
export async function hasBlob(
  endpoint: Endpoint,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<boolean> {
  const task = `look for blob "${endpoint.name}@${descriptor.digest}"`;
  return endpoint.attempt(task, signal, async (attemptSignal) => {
    const response = await endpoint.send({
      method: 'HEAD',
      target: `blobs/${descriptor.digest}`,
      access: 'pull',
      signal: attemptSignal,
    });
    await expectStatus(response, [200, 404], task);
    response.discard();
    return response.status === 200;
  });
}

/** Uploads unless the repository has it. The registry checks the digest. */
export async function pushBlob(
  endpoint: Endpoint,
  descriptor: Descriptor,
  body: UploadBody,
  signal: AbortSignal,
): Promise<void> {
  if (await hasBlob(endpoint, descriptor, signal)) return;
  const task = `upload blob "${endpoint.name}@${descriptor.digest}"`;
  const upload = uploadBody(descriptor, body);
  const attempt = async (attemptSignal: AbortSignal): Promise<void> => {
    const location = await openUpload(endpoint, task, attemptSignal);
    location.searchParams.set('digest', descriptor.digest);
    const response = await endpoint.send({
      method: 'PUT',
      target: location,
      headers: { 'content-type': 'application/octet-stream' },
      body: upload,
      access: 'push',
      signal: attemptSignal,
    });
    await expectStatus(response, [201], task);
    response.discard();
  };
  await endpoint.attempt(task, signal, attempt, descriptor.size);
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
  return endpoint.attempt(task, signal, async (attemptSignal) => {
    const response = await endpoint.send({
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

async function openUpload(endpoint: Endpoint, task: string, signal: AbortSignal): Promise<URL> {
  const response = await endpoint.send({
    method: 'POST',
    target: 'blobs/uploads/',
    body: bufferBody(Buffer.alloc(0)),
    access: 'push',
    signal,
  });
  await expectStatus(response, [202], task);
  response.discard();
  return uploadLocation(response, task);
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

function uploadBody(descriptor: Descriptor, body: UploadBody): HttpRequestBody {
  if (typeof body === 'function') return { size: descriptor.size, open: body };
  return bufferBody(body);
}

function checkOwnDigest(task: string, expected: string, bytes: Uint8Array): void {
  const digest = digestOf(bytes);
  if (digest === expected) return;
  throw new SiphonError('invalid', `Cannot ${task}: the bytes have digest ${digest}`);
}
