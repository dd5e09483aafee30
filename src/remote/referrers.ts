/**
 * What refers to a manifest: signatures, indexes of layers (distribution-spec v1.1, "Listing
 * Referrers"). A registry without that API gets the specification's fallback: an image index under the
 * tag `sha256-<hex of the subject>` that clients keep up to date themselves. There is no
 * compare-and-swap on a tag, so an update reads the tag again after writing and repeats until its
 * entry stands; within one process updates of a tag take turns. Two processes can still race in the
 * moment after the last look.
 */

import { type Digest, digestHex } from '../common/digest.js';
import { SiphonError, errorCode } from '../common/errors.js';
import { type Descriptor, isIndexType, mediaTypes } from './descriptor.js';
import type { Endpoint } from './endpoint.js';
import { fetchManifest } from './fetch-manifest.js';
import { expectStatus, readBody } from './http-answer.js';
import type { HttpResponse } from './http-exchange.js';
import { type ImageIndex, parseImageIndex } from './manifest.js';
import { pushManifest } from './push.js';
import { isRetryable, isUnreachable } from './remote-error.js';
import type { RepositoryHost } from './repository-host.js';
import { inTurn } from './turns.js';

/** Longest list that is read, in bytes; as for manifests. */
const MAX_LIST = 4 * 1024 * 1024;
/** Pages of one list that are followed. */
const MAX_PAGES = 32;
/** Updates of a fallback tag that others overwrote before giving up. */
const MAX_UPDATES = 8;
/** Statuses by which registries say that they do not know the API. */
const NO_API: readonly number[] = [400, 404, 405, 501];
/** Hosts that were seen to know the API. */
const knowing = new Set<string>();

/**
 * Referrers of `subject` with the given type, or of any where it is undefined; none where nothing
 * refers to it.
 * @throws SiphonError as for any request; `invalid` for a malformed list
 */
export async function listReferrers(
  endpoint: Endpoint,
  subject: Digest,
  artifactType: string | undefined,
  signal: AbortSignal,
): Promise<Descriptor[]> {
  const listed = await listEitherWay(endpoint, subject, artifactType, signal);
  return listed.filter(
    (descriptor) => artifactType === undefined || descriptor.artifactType === artifactType,
  );
}

/** Many registries lack the API: of one that is not known to have it, both ways are asked for at once. */
async function listEitherWay(
  endpoint: Endpoint,
  subject: Digest,
  artifactType: string | undefined,
  signal: AbortSignal,
): Promise<Descriptor[]> {
  const registry = (await endpoint.hosts('resolve')).at(-1);
  const byApi = listByApi(endpoint, subject, artifactType, signal);
  if (registry !== undefined && knowing.has(registry.name))
    return (await byApi) ?? (await listByFallback(endpoint, subject, signal));
  const needless = new AbortController();
  const either = AbortSignal.any([signal, needless.signal]);
  const byFallback = listByFallback(endpoint, subject, either);
  byFallback.catch(() => undefined); // whether it counts is known only later
  try {
    return (await byApi) ?? (await byFallback);
  } finally {
    needless.abort();
  }
}

/**
 * Uploads a manifest that has a `subject`, and sees to it that {@link listReferrers} finds it.
 * @param artifactType of the manifest, for the list
 */
export async function pushReferrer(
  endpoint: Endpoint,
  manifest: { bytes: Uint8Array; descriptor: Descriptor; artifactType: string },
  subject: Digest,
  signal: AbortSignal,
): Promise<void> {
  const { bytes, descriptor, artifactType } = manifest;
  const target = { digest: descriptor.digest };
  const pushed = await pushManifest(endpoint, target, bytes, descriptor.mediaType, signal);
  if (pushed.subjectKnown) return;
  const entry = { ...descriptor, artifactType };
  await inTurn(`${endpoint.name}:${fallbackTag(subject)}`, () =>
    addToFallback(endpoint, subject, entry, signal),
  );
}

/** The tag that stands in for the referrers API. */
export function fallbackTag(subject: Digest): string {
  return `sha256-${digestHex(subject)}`;
}

/** `index` with `entry` in it once, other entries untouched and in their order. */
export function withReferrer(index: ImageIndex | undefined, entry: Descriptor): ImageIndex {
  const others = (index?.manifests ?? []).filter(({ digest }) => digest !== entry.digest);
  return {
    ...index,
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: [...others, entry],
  };
}

async function addToFallback(
  endpoint: Endpoint,
  subject: Digest,
  entry: Descriptor,
  signal: AbortSignal,
): Promise<void> {
  const tag = fallbackTag(subject);
  for (let update = 0; update < MAX_UPDATES; update += 1) {
    const index = await readFallback(endpoint, subject, signal);
    if (index?.manifests.some((listed) => isSameEntry(listed, entry))) return;
    const bytes = Buffer.from(JSON.stringify(withReferrer(index, entry)));
    await pushManifest(endpoint, { tag }, bytes, mediaTypes.ociIndex, signal);
  }
  throw new SiphonError(
    'busy',
    `Cannot list a referrer in "${endpoint.name}:${tag}": others keep overwriting the tag`,
  );
}

function isSameEntry(listed: Descriptor, entry: Descriptor): boolean {
  return listed.digest === entry.digest && listed.artifactType === entry.artifactType;
}

async function listByFallback(
  endpoint: Endpoint,
  subject: Digest,
  signal: AbortSignal,
): Promise<Descriptor[]> {
  return (await readFallback(endpoint, subject, signal))?.manifests ?? [];
}

async function readFallback(
  endpoint: Endpoint,
  subject: Digest,
  signal: AbortSignal,
): Promise<ImageIndex | undefined> {
  const tag = fallbackTag(subject);
  try {
    const { bytes, descriptor } = await fetchManifest(endpoint, { tag }, signal);
    if (isIndexType(descriptor.mediaType)) return parseImageIndex(bytes, `${endpoint.name}:${tag}`);
  } catch (error) {
    if (errorCode(error) === 'not-found') return undefined;
    throw error;
  }
  throw new SiphonError(
    'invalid',
    `Cannot read referrers "${endpoint.name}:${tag}": the tag names a manifest, expected an image index`,
  );
}

/**
 * `undefined` where no host has the referrers API. A mirror's empty list says nothing: it may not have
 * been asked for the artifacts before. Where the registry itself is out of reach, it is all there is, and the
 * fallback tag may still be at the mirror.
 */
async function listByApi(
  endpoint: Endpoint,
  subject: Digest,
  artifactType: string | undefined,
  signal: AbortSignal,
): Promise<Descriptor[] | undefined> {
  const task = `list referrers of "${endpoint.name}@${subject}"`;
  const names = (await endpoint.hosts('resolve')).map(({ name }) => name);
  let isMirrored = false;
  const ask = async (host: RepositoryHost, attemptSignal: AbortSignal) => {
    const list = await listAtHost(host, { subject, artifactType, task, signal: attemptSignal });
    const isLast = host.name === names.at(-1);
    if (isLast || (list !== undefined && list.length > 0)) return list;
    isMirrored = true;
    throw new SiphonError('not-found', `Cannot ${task}: "${host.name}" knows of none`);
  };
  try {
    return await endpoint.attempt(task, { needs: 'resolve', signal }, ask);
  } catch (error) {
    if (signal.aborted || !isMirrored || !(isUnreachable(error) || isRetryable(error))) throw error;
    return undefined;
  }
}

interface ListRequest {
  subject: Digest;
  artifactType: string | undefined;
  task: string;
  signal: AbortSignal;
}

async function listAtHost(
  host: RepositoryHost,
  request: ListRequest,
): Promise<Descriptor[] | undefined> {
  const { subject, artifactType } = request;
  const found: Descriptor[] = [];
  const filter =
    artifactType === undefined ? '' : `?artifactType=${encodeURIComponent(artifactType)}`;
  let target: string | URL | undefined = `referrers/${subject}${filter}`;
  for (let page = 0; target !== undefined && page < MAX_PAGES; page += 1) {
    const answer = await readPage(host, target, request);
    if (answer === undefined) return undefined;
    knowing.add(host.name);
    found.push(...answer.descriptors);
    target = answer.next;
  }
  return found;
}

async function readPage(
  host: RepositoryHost,
  target: string | URL,
  { subject, task, signal }: ListRequest,
): Promise<{ descriptors: Descriptor[]; next: URL | undefined } | undefined> {
  const headers = { accept: mediaTypes.ociIndex };
  const response = await host.send({ method: 'GET', target, headers, access: 'pull', signal });
  if (NO_API.includes(response.status) || !isIndexAnswer(response)) {
    response.discard();
    return undefined;
  }
  await expectStatus(response, [200], task);
  const bytes = await readBody(response, MAX_LIST, `referrers of "${subject}"`);
  const descriptors = parseImageIndex(bytes, `referrers of ${subject}`).manifests;
  return { descriptors, next: nextPage(response) };
}

/** A server that answers every path with some page has no such API either. */
function isIndexAnswer(response: HttpResponse): boolean {
  return response.status !== 200 || response.header('content-type')?.includes('json') === true;
}

/** RFC 8288 `Link: <…>; rel="next"`, on the same host only. */
function nextPage(response: HttpResponse): URL | undefined {
  const link = /<([^<>]*)>\s*;[^,<]*\brel="?next"?/.exec(response.header('link') ?? '')?.[1];
  const url = link === undefined ? null : URL.parse(link, response.url.href);
  return url !== null && url.origin === response.url.origin ? url : undefined;
}
