/** Where a layer's blob is read from: opened at the first need, and shared by all that read the layer. */

import type { BlobSource } from '../common/blob-source.js';
import { isDiskFull } from '../common/disk-full.js';
import { errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ContentStore } from '../content/content-store.js';
import { type LayerOrigin, openOrigin } from '../content/layer-origin.js';
import { openLocation } from '../content/location.js';
import type { LayerInfo } from '../index/layer-model.js';
import type { FetchQueues } from '../remote/fetch-queues.js';
import type { RegistryAccess } from '../remote/registry.js';
import { BlobParts } from './blob-parts.js';
import { LayerBlob } from './layer-blob.js';
import type { LayerRecord } from './layer-store.js';

export interface LayerSourceOptions {
  record: LayerRecord;
  /** What the index says that was there when the layer was opened. */
  info: LayerInfo;
  /** The layer's folder. */
  directory: string;
  content: ContentStore;
  access?: RegistryAccess | undefined;
  queues: FetchQueues;
  /** Whether what comes is kept, for the layer is to be here as a whole some day. */
  keeps: boolean;
  /** Is told what goes wrong, before it is tried again. */
  onFailure: (message: string) => void;
  /** Is told of the bytes of each part that is kept. */
  onKept: (bytes: number) => void;
  /** Ends the wait for a server that is to tell what it has. */
  closing: AbortSignal;
  log: Logger;
}

export class LayerSource {
  readonly #options: LayerSourceOptions;
  #opening: Promise<BlobSource> | undefined;
  #opened: BlobSource | undefined;

  constructor(options: LayerSourceOptions) {
    this.#options = options;
  }

  /** What is read from elsewhere, once it is open. */
  get blob(): LayerBlob | undefined {
    return this.#opened instanceof LayerBlob ? this.#opened : undefined;
  }

  /** Bytes of the blob that are here, as far as is known. */
  get present(): number {
    const source = this.#opened;
    if (source instanceof LayerBlob) return source.present;
    return source?.local === true ? source.size : 0;
  }

  /** The same for all; closed by {@link close} alone. @throws as openOrigin; then the next call tries again */
  async open(): Promise<BlobSource> {
    this.#opening ??= this.#open();
    try {
      return (this.#opened = await this.#opening);
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  /** As {@link open}, for who closes what it was given. */
  readonly lend = async (): Promise<BlobSource> => {
    const source = await this.open();
    return {
      name: source.name,
      size: source.size,
      local: source.local,
      get requestCost() {
        return source.requestCost ?? 0;
      },
      read: (...args) => source.read(...args),
      stream: (...args) => source.stream(...args),
      ...(source.readInto === undefined
        ? {}
        : { readInto: async (...args) => source.readInto?.(...args) }),
      ...(source.elsewhere === undefined
        ? {}
        : { elsewhere: (rejected: number) => source.elsewhere?.(rejected) ?? source }),
      close: () => Promise.resolve(),
    };
  };

  async close(): Promise<void> {
    const source = await this.#opening?.catch(() => undefined);
    await source?.close();
  }

  async #open(): Promise<BlobSource> {
    const { record, info, content, directory, keeps, queues, log } = this.#options;
    const { blobDigest: digest, blobSize: size } = info;
    if (await content.has(digest)) return content.source({ digest, size });
    const place = placeOf(record.origin);
    const source = await this.#openOrigin(place?.host);
    if (place === undefined || source.local) return source;
    const remote = queues.ordering(source, place.host, place.flow);
    const { onKept } = this.#options;
    try {
      const parts = keeps ? await this.#parts(size) : undefined;
      return new LayerBlob({ remote, parts, directory, onKept, log });
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  /** Where the disk is full, nothing is kept, and what is read comes from where the layer is. */
  async #parts(size: number): Promise<BlobParts | undefined> {
    const { directory, log } = this.#options;
    try {
      return await BlobParts.open(directory, size);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      log.warn({ directory, reason: errorMessage(error) }, 'parts of the blob are not kept');
      return undefined;
    }
  }

  #openOrigin(host: string | undefined): Promise<BlobSource> {
    const { record, info, access, closing, queues, onFailure } = this.#options;
    const { blobDigest: digest, blobSize: size, digestOf } = info;
    const options = {
      ...(access === undefined ? {} : { access }),
      ...(host === undefined ? {} : { onRange: queues.learning(host) }),
      onFailure: (error: unknown) => onFailure(errorMessage(error)),
      waits: true,
      signal: closing,
    };
    const isNamedByPlace = digestOf === 'none' && record.identity === 'location';
    if (isNamedByPlace) return openLocation(record.origin, digest, options);
    return openOrigin(record.origin, { mediaType: record.mediaType, digest, size }, options);
  }
}

/** The host that is asked, and what there takes turns with others; `undefined` where nobody is. */
export function placeOf(origin: LayerOrigin): { host: string; flow: string } | undefined {
  switch (origin.kind) {
    case 'registry':
      return { host: origin.host, flow: origin.repository };
    case 'url': {
      const { host, pathname } = new URL(origin.url);
      return { host, flow: pathname };
    }
    case 'file':
      return undefined;
  }
}
