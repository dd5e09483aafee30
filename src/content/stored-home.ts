/**
 * An image that is recorded here. What is in the content store is taken from there; what is not comes
 * from where the image was pulled from, and stays.
 */

import type { BlobSource } from '../common/blob-source.js';
import type { Digest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { untilRight } from '../common/until-right.js';
import type { Descriptor } from '../remote/descriptor.js';
import type { RegistryAccess } from '../remote/registry.js';
import type { ContentStore } from './content-store.js';
import type { Artifact, ImageHome } from './image-home.js';
import type { ImageRecord } from './image-database.js';
import { type LayerOrigin, openOrigin } from './layer-origin.js';
import { streamAndClose } from './stream-blob.js';

export interface StoredHomeOptions {
  record: ImageRecord;
  store: ContentStore;
  /** Opens the home that the image was pulled from; absent where it was imported. */
  openOriginHome?: (() => Promise<ImageHome>) | undefined;
  /** Where a layer lies by what is known of layers. */
  locate?: ((digest: Digest) => LayerOrigin | undefined) | undefined;
  access?: RegistryAccess | undefined;
}

export class StoredHome implements ImageHome {
  readonly name: string;
  readonly store: ContentStore;
  readonly #options: StoredHomeOptions;
  #originHome: Promise<ImageHome> | undefined;

  constructor(options: StoredHomeOptions) {
    this.name = options.record.name;
    this.store = options.store;
    this.#options = options;
  }

  resolve(): Promise<Descriptor> {
    return Promise.resolve(this.#options.record.target);
  }

  async readDocument(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    if (await this.store.has(descriptor.digest)) return this.store.read(descriptor.digest);
    const home = await this.#origin(descriptor.digest);
    return this.#kept(await home.readDocument(descriptor, signal));
  }

  async readManifest(digest: Digest, signal: AbortSignal): Promise<Buffer> {
    if (await this.store.has(digest)) return this.store.read(digest);
    return this.#kept(await (await this.#origin(digest)).readManifest(digest, signal));
  }

  async readBlob(descriptor: Descriptor, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    await this.fetch(descriptor, signal);
    const source = await this.store.source(descriptor);
    return streamAndClose(source, signal);
  }

  /** Brings the blob into the content store, verified, unless it is there. Errors as readBlob. */
  async fetch(
    descriptor: Descriptor,
    signal: AbortSignal,
    onProgress?: (done: number, total: number) => void,
  ): Promise<void> {
    if (await this.store.has(descriptor.digest)) return;
    const source = await this.openBlob(descriptor, signal);
    try {
      const how = { signal, ...(onProgress === undefined ? {} : { onProgress }) };
      await untilRight(source, (from) =>
        this.store.ingest(descriptor, (offset) => from.stream(signal, offset), how),
      );
    } finally {
      await source.close();
    }
  }

  async openBlob(descriptor: Descriptor, signal: AbortSignal): Promise<BlobSource> {
    const { digest } = descriptor;
    if (await this.store.has(digest)) return this.store.source(descriptor);
    const { locate, openOriginHome, access = {} } = this.#options;
    const located = locate?.(digest);
    // A registry that is away is waited for without end there, as readers of a mount want it.
    const isBetterHome = located?.kind === 'registry' && openOriginHome !== undefined;
    if (located !== undefined && !isBetterHome)
      return openOrigin(located, descriptor, { signal, access });
    return (await this.#origin(digest)).openBlob(descriptor, signal);
  }

  async origin(descriptor: Descriptor, signal: AbortSignal): Promise<LayerOrigin> {
    const { digest } = descriptor;
    if (await this.store.has(digest)) return { kind: 'file', path: this.store.path(digest) };
    return (
      this.#options.locate?.(digest) ?? (await this.#origin(digest)).origin(descriptor, signal)
    );
  }

  async referrers(
    subject: Digest,
    artifactType: string,
    signal: AbortSignal,
  ): Promise<Descriptor[]> {
    if (this.#options.openOriginHome === undefined) return [];
    return (await this.#origin(subject)).referrers(subject, artifactType, signal);
  }

  async push(artifact: Artifact, signal: AbortSignal): Promise<void> {
    await (await this.#origin(artifact.subject.digest)).push(artifact, signal);
  }

  async close(): Promise<void> {
    const home = await this.#originHome?.catch(() => undefined);
    await home?.close();
  }

  async #kept(bytes: Buffer): Promise<Buffer> {
    await this.store.put(bytes);
    return bytes;
  }

  #origin(missing: Digest): Promise<ImageHome> {
    const open = this.#options.openOriginHome;
    if (open === undefined) {
      throw new SiphonError(
        'not-found',
        `Cannot find blob "${missing}" of image "${this.name}": it is not here, and the image was imported without it`,
      );
    }
    return (this.#originHome ??= open());
  }
}
