/** An image of the content store into a registry; what is missing here, and there, is fetched first. */

import { createReadStream } from 'node:fs';
import pLimit from 'p-limit';
import type { Logger } from '../common/log.js';
import type { Descriptor } from '../remote/descriptor.js';
import { type Reference, isLoopbackHost } from '../remote/reference.js';
import { Registry, type RegistryAccess } from '../remote/registry.js';
import type { BlobListener } from './blob-event.js';
import { readTree } from './image-tree.js';
import type { StoredHome } from './stored-home.js';

export interface PushOptions {
  home: StoredHome;
  /** What the reference will stand for. */
  root: Descriptor;
  reference: Reference;
  /** Implied for loopback hosts. */
  plainHttp?: boolean | undefined;
  access?: RegistryAccess | undefined;
  signal: AbortSignal;
  onEvent?: BlobListener;
  log: Logger;
}

/** Blobs under way at once. */
const CONCURRENT_UPLOADS = 4;

/** @throws SiphonError `unauthorized`, `unavailable`, …; the reference is given last */
export async function pushImage(options: PushOptions): Promise<void> {
  const { home, root, reference, signal, log } = options;
  const plainHttp = options.plainHttp ?? isLoopbackHost(reference.host);
  const registry = new Registry({ reference, plainHttp, ...options.access, log });
  try {
    const { documents, blobs } = await readTree(home, root, { signal });
    await pushBlobs(registry, blobs, options);
    const { tag = 'latest' } = reference;
    for (const { descriptor, bytes } of documents) {
      const { digest, mediaType } = descriptor;
      const target = digest === root.digest ? { tag } : { digest };
      await registry.pushManifest(target, bytes, mediaType, signal);
    }
  } finally {
    await registry.close();
  }
}

/** The first failure ends the others. */
async function pushBlobs(
  registry: Registry,
  blobs: readonly Descriptor[],
  options: PushOptions,
): Promise<void> {
  const limit = pLimit(CONCURRENT_UPLOADS);
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const work = blobs.map((blob) =>
    limit(() => pushBlob(registry, blob, { ...options, signal })).catch((error: unknown) => {
      failed.abort(error);
    }),
  );
  await Promise.all(work);
  failed.signal.throwIfAborted();
}

async function pushBlob(
  registry: Registry,
  blob: Descriptor,
  { home, signal, onEvent }: PushOptions,
): Promise<void> {
  const { digest, size: total } = blob;
  if (await registry.hasBlob(blob, signal)) {
    onEvent?.({ digest, status: 'exists', done: total, total });
    return;
  }
  await home.fetch(blob, signal, (done) => onEvent?.({ digest, status: 'fetching', done, total }));
  onEvent?.({ digest, status: 'uploading', done: 0, total });
  await registry.pushBlob(blob, () => counted(home.store.path(digest)), signal);
  onEvent?.({ digest, status: 'done', done: total, total });

  async function* counted(path: string): AsyncGenerator<Uint8Array> {
    let done = 0;
    for await (const chunk of createReadStream(path)) {
      yield chunk as Buffer;
      done += (chunk as Buffer).length;
      onEvent?.({ digest, status: 'uploading', done, total });
    }
  }
}
