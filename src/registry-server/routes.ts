/** The read-only end points of the OCI distribution specification v1.1 over one layout. */

import { type Digest, isDigest } from '../common/digest.js';
import { mediaTypes } from '../remote/descriptor.js';
import { isRepository, isTag } from '../remote/reference.js';
import {
  type ErrorAnswer,
  type Exchange,
  answerBlob,
  answerBytes,
  answerError,
  answerJson,
} from './answer.js';
import type { LayoutReader } from './layout-reader.js';

/** What a path asks for. `reference` is not checked yet. */
export type Route =
  | { kind: 'base' }
  | { kind: 'manifest' | 'blob' | 'referrers'; repository: string; reference: string }
  | { kind: 'tags'; repository: string };

export interface Served {
  layout: LayoutReader;
  /** The only name that is known; absent: any. */
  repository: string | undefined;
}

const OBJECT = /^\/v2\/(.+)\/(manifests|blobs|referrers)\/([^/]+)$/;
const TAGS = /^\/v2\/(.+)\/tags\/list$/;
const KINDS = { manifests: 'manifest', blobs: 'blob', referrers: 'referrers' } as const;

/** `undefined` for a path that the specification does not know. */
export function parseRoute(path: string): Route | undefined {
  if (path === '/v2/' || path === '/v2') return { kind: 'base' };
  const [, tagged] = TAGS.exec(path) ?? [];
  if (tagged !== undefined && isRepository(tagged)) return { kind: 'tags', repository: tagged };
  const [, repository, collection, reference] = OBJECT.exec(path) ?? [];
  if (repository === undefined || reference === undefined || !isRepository(repository)) {
    return undefined;
  }
  // The pattern allows these three only.
  return { kind: KINDS[collection as keyof typeof KINDS], repository, reference };
}

/** Answers one request; what it throws is a defect or a damaged layout. */
export async function answerRequest(exchange: Exchange, served: Served): Promise<void> {
  const { method, url } = exchange.request;
  if (method !== 'GET' && method !== 'HEAD') {
    exchange.response.setHeader('allow', 'GET, HEAD');
    return answerError(exchange, unsupported);
  }
  const target = URL.parse(url ?? '/', 'http://layout');
  const route = target === null ? undefined : parseRoute(target.pathname);
  if (target === null || route === undefined) return answerError(exchange, unknownPath);
  if (route.kind === 'base') return answerJson(exchange, {});
  if (served.repository !== undefined && route.repository !== served.repository) {
    return answerError(exchange, unknownName);
  }
  switch (route.kind) {
    case 'manifest':
      return answerManifest(exchange, served.layout, route.reference);
    case 'blob':
      return answerBlobRequest(exchange, served.layout, route.reference);
    case 'referrers':
      return answerReferrers(exchange, served.layout, route.reference, target.searchParams);
    case 'tags':
      return answerTags(exchange, served.layout, route.repository, target.searchParams);
  }
}

async function answerManifest(
  exchange: Exchange,
  layout: LayoutReader,
  reference: string,
): Promise<void> {
  const digest = await resolve(layout, reference);
  const stored = digest === undefined ? undefined : await layout.manifest(digest);
  if (stored === undefined) return answerError(exchange, unknownManifest);
  answerBytes(exchange, stored.bytes, {
    'content-type': stored.descriptor.mediaType,
    ...digestHeaders(stored.descriptor.digest),
  });
}

async function resolve(layout: LayoutReader, reference: string): Promise<Digest | undefined> {
  if (isDigest(reference)) return reference;
  return isTag(reference) ? layout.resolveTag(reference) : undefined;
}

async function answerBlobRequest(
  exchange: Exchange,
  layout: LayoutReader,
  reference: string,
): Promise<void> {
  const size = isDigest(reference) ? await layout.blobSize(reference) : undefined;
  if (!isDigest(reference) || size === undefined) return answerError(exchange, unknownBlob);
  const headers = { 'content-type': 'application/octet-stream', ...digestHeaders(reference) };
  await answerBlob(exchange, { path: layout.blobPath(reference), size, headers });
}

async function answerReferrers(
  exchange: Exchange,
  layout: LayoutReader,
  subject: string,
  query: URLSearchParams,
): Promise<void> {
  if (!isDigest(subject)) return answerError(exchange, malformedDigest);
  const wanted = query.get('artifactType');
  const all = await layout.referrers(subject);
  const manifests =
    wanted === null ? all : all.filter(({ artifactType }) => artifactType === wanted);
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  answerJson(exchange, index, {
    'content-type': mediaTypes.ociIndex,
    ...(wanted === null ? {} : { 'oci-filters-applied': 'artifactType' }),
  });
}

/** A page of `n` tags after `last` (distribution-spec, "Listing Tags"). */
async function answerTags(
  exchange: Exchange,
  layout: LayoutReader,
  name: string,
  query: URLSearchParams,
): Promise<void> {
  const last = query.get('last');
  const after = (await layout.tags()).filter((tag) => last === null || tag > last);
  const n = query.get('n');
  const limit = n !== null && /^\d{1,9}$/.test(n) ? Number(n) : after.length;
  const tags = after.slice(0, limit);
  const end = tags.at(-1);
  const more = tags.length < after.length && end !== undefined;
  const link = `</v2/${name}/tags/list?n=${limit}&last=${end ?? ''}>; rel="next"`;
  answerJson(exchange, { name, tags }, more ? { link } : {});
}

function digestHeaders(digest: Digest): Record<string, string> {
  return { 'docker-content-digest': digest, etag: `"${digest}"` };
}

const unsupported: ErrorAnswer = {
  status: 405,
  code: 'UNSUPPORTED',
  message: 'this registry is read-only',
};
const unknownPath: ErrorAnswer = { status: 404, code: 'NOT_FOUND', message: 'no such end point' };
const unknownName: ErrorAnswer = {
  status: 404,
  code: 'NAME_UNKNOWN',
  message: 'repository name not known to registry',
};
const unknownManifest: ErrorAnswer = {
  status: 404,
  code: 'MANIFEST_UNKNOWN',
  message: 'manifest unknown',
};
const unknownBlob: ErrorAnswer = {
  status: 404,
  code: 'BLOB_UNKNOWN',
  message: 'blob unknown to registry',
};
const malformedDigest: ErrorAnswer = {
  status: 400,
  code: 'DIGEST_INVALID',
  message: 'expected a sha256 digest',
};
