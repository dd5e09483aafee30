/**
 * Where a layer's bytes lie, in a form that can be written down: enough to open the blob again in
 * another process, long after the image that named it was looked at.
 */

import type { BlobSource } from '../common/blob-source.js';
import { SiphonError } from '../common/errors.js';
import { FileBlob } from '../common/file-blob.js';
import { field, fieldsOf } from '../common/own-json.js';
import type { RangeListener, RangedBlob } from '../remote/ranged-blob.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { Descriptor } from '../remote/descriptor.js';

/**
 * - `registry`: the blob of that digest in a repository; credentials are looked up when it is opened.
 * - `file`: `size` bytes of a file from `offset` (default 0) – a blob in an OCI layout, a member of an
 *   archive, or the whole of a layer tar.
 * - `url`: one layer tar behind plain HTTP. Never show the URL whole: its query may hold a signature.
 */
export type LayerOrigin =
  | { kind: 'registry'; host: string; repository: string; plainHttp: boolean }
  | { kind: 'file'; path: string; offset?: number | undefined }
  | { kind: 'url'; url: string };

/** @param text as JSON has written it. @throws SiphonError `corrupt` */
export function parseLayerOrigin(text: string): LayerOrigin {
  const origin = fieldsOf(JSON.parse(text), "a layer's origin");
  const kind = field(origin, 'kind', 'string');
  switch (kind) {
    case 'registry':
      return {
        kind,
        host: field(origin, 'host', 'string'),
        repository: field(origin, 'repository', 'string'),
        plainHttp: field(origin, 'plainHttp', 'boolean'),
      };
    case 'file': {
      const path = field(origin, 'path', 'string');
      return 'offset' in origin
        ? { kind, path, offset: field(origin, 'offset', 'number') }
        : { kind, path };
    }
    case 'url':
      return { kind, url: field(origin, 'url', 'string') };
    default:
      throw new SiphonError(
        'corrupt',
        `Cannot read a layer's origin: its kind is "${kind}", expected registry, file or url`,
      );
  }
}

/** Where a layer can be had that its image's home need not hold (image-spec, "Descriptor": `urls`). */
export function foreignUrl({ urls = [] }: Descriptor): string | undefined {
  return urls.find((url) => /^https?:/.test(url) && URL.canParse(url));
}

export interface OpenOriginOptions {
  signal: AbortSignal;
  access?: RegistryAccess;
  /** Is told what goes wrong, before it is tried again. */
  onFailure?: (error: unknown) => void;
  /** Is told of each range that came. */
  onRange?: RangeListener;
  /** Whether a URL's server that is away is waited for as a registry is; default: not. */
  waits?: boolean;
}

/**
 * Opens the blob that `descriptor` names at `origin`; closing it frees connections and files.
 * @throws SiphonError `not-found` or `corrupt` where a file is missing or too short, `unavailable`
 */
export async function openOrigin(
  origin: LayerOrigin,
  descriptor: Descriptor,
  options: Partial<OpenOriginOptions> = {},
): Promise<BlobSource> {
  switch (origin.kind) {
    case 'registry':
      return openRegistryBlob(origin, descriptor, options);
    case 'file':
      return FileBlob.open(origin.path, { offset: origin.offset ?? 0, size: descriptor.size });
    case 'url':
      return openUrlBlob(origin.url, options);
  }
}

export async function openUrlBlob(
  url: string,
  options: Partial<OpenOriginOptions>,
): Promise<RangedBlob> {
  const { signal = new AbortController().signal, onFailure, onRange, waits = false } = options;
  const { openHttpBlob } = await import('../remote/http-blob.js');
  const { untilCancelled } = await import('../remote/policy.js');
  return openHttpBlob(url, signal, {
    ...(onFailure === undefined ? {} : { onFailure }),
    ...(onRange === undefined ? {} : { onRange }),
    ...(waits ? untilCancelled : {}),
  });
}

/**
 * A blob source that owns its connections, and closes them with itself. Its reads wait for a registry that
 * is away for as long as their signals let them.
 */
async function openRegistryBlob(
  origin: Extract<LayerOrigin, { kind: 'registry' }>,
  descriptor: Descriptor,
  { access, onFailure, onRange }: Partial<OpenOriginOptions>,
): Promise<BlobSource> {
  // What a mount needs that draws nothing any more starts without it, for the server is waited for.
  const { Registry } = await import('../remote/registry.js');
  const { untilCancelled } = await import('../remote/policy.js');
  const registry = new Registry({
    reference: { host: origin.host, repository: origin.repository, digest: descriptor.digest },
    plainHttp: origin.plainHttp,
    ...access,
    ...(onFailure === undefined ? {} : { onFailure }),
    ...untilCancelled,
  });
  const blob = registry.blobSource(descriptor, onRange);
  return {
    name: blob.name,
    size: blob.size,
    local: blob.local,
    read: (offset, length, signal) => blob.read(offset, length, signal),
    stream: (signal, from) => blob.stream(signal, from),
    elsewhere: (rejected) => blob.elsewhere(rejected),
    close: async () => {
      await blob.close();
      await registry.close();
    },
  };
}
