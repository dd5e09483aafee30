/**
 * Where a layer's bytes lie, in a form that can be written down: enough to open the blob again in
 * another process, long after the image that named it was looked at.
 */

import { z } from 'zod';
import type { BlobSource } from '../common/blob-source.js';
import { FileBlob } from '../common/file-blob.js';
import type { CredentialSource } from '../remote/credentials.js';
import type { Descriptor } from '../remote/descriptor.js';

/**
 * - `registry`: the blob of that digest in a repository; credentials are looked up when it is opened.
 * - `file`: `size` bytes of a file from `offset` (default 0) – a blob in an OCI layout, a member of an
 *   archive, or the whole of a layer tar.
 * - `url`: one layer tar behind plain HTTP. Never show the URL whole: its query may hold a signature.
 */
export const layerOriginSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('registry'),
    host: z.string(),
    repository: z.string(),
    plainHttp: z.boolean(),
  }),
  z.strictObject({
    kind: z.literal('file'),
    path: z.string(),
    offset: z.number().int().nonnegative().optional(),
  }),
  z.strictObject({ kind: z.literal('url'), url: z.string() }),
]);

export type LayerOrigin = z.infer<typeof layerOriginSchema>;

/** Where a layer can be had that its image's home need not hold (image-spec, "Descriptor": `urls`). */
export function foreignUrl({ urls = [] }: Descriptor): string | undefined {
  return urls.find((url) => /^https?:/.test(url) && URL.canParse(url));
}

export interface OpenOriginOptions {
  signal: AbortSignal;
  credentials?: CredentialSource;
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
      return openRegistryBlob(origin, descriptor, options.credentials);
    case 'file':
      return FileBlob.open(origin.path, { offset: origin.offset ?? 0, size: descriptor.size });
    case 'url': {
      const { openHttpBlob } = await import('../remote/http-blob.js');
      return openHttpBlob(origin.url, options.signal ?? new AbortController().signal);
    }
  }
}

/** A blob source that owns its connections, and closes them with itself. */
async function openRegistryBlob(
  origin: Extract<LayerOrigin, { kind: 'registry' }>,
  descriptor: Descriptor,
  credentials: CredentialSource | undefined,
): Promise<BlobSource> {
  // What a mount needs that draws nothing any more starts without it, for the server is waited for.
  const { Registry } = await import('../remote/registry.js');
  const registry = new Registry({
    reference: { host: origin.host, repository: origin.repository, digest: descriptor.digest },
    plainHttp: origin.plainHttp,
    ...(credentials === undefined ? {} : { credentials }),
  });
  const blob = registry.blobSource(descriptor);
  return {
    name: blob.name,
    size: blob.size,
    local: blob.local,
    read: (offset, length, signal) => blob.read(offset, length, signal),
    stream: (signal) => blob.stream(signal),
    close: async () => {
      await blob.close();
      await registry.close();
    },
  };
}
