/**
 * Layers into containerd's snapshots, bottom first: a layer that the snapshotter prepares by itself needs
 * nothing more; any other is fetched into the content store and unpacked by containerd's diff service.
 *
 * As long as the snapshotter has not prepared any layer, it is taken for one that never does, and the
 * layers above are fetched ahead; from one that has, each layer is asked for first.
 */

import { randomBytes } from 'node:crypto';
import pLimit from 'p-limit';
import type { BlobSource } from '../common/blob-source.js';
import type { ChainId, Digest, DiffId } from '../common/digest.js';
import { SiphonError, errorCode } from '../common/errors.js';
import type { ImageLayer } from '../content/image.js';
import type { Mount } from '../generated/containerd/types/mount.js';
import type { Descriptor } from '../remote/descriptor.js';
import { type CallContext, type Connection, longCall } from './connection.js';
import { labelBlob, writeBlob } from './content-writer.js';
import { uncompressedLabel } from './gc-labels.js';
import type { RegistryImage, StoreOptions } from './image-documents.js';
import type { Lease } from './lease.js';
import type { PullEvent } from './pull-event.js';
import { snapshotLabels } from './snapshot-labels.js';

export interface PlacedLayer {
  digest: Digest;
  chainId: ChainId;
  /** Bytes of the blob. */
  size: number;
  /** `prepared`: by the snapshotter, lazily or as files; `unpacked`: by containerd; `exists`: it was there. */
  how: 'prepared' | 'unpacked' | 'exists';
}

export interface PlacerOptions extends StoreOptions {
  connection: Connection;
  lease: Lease;
  snapshotter: string;
  /** As the image is named in containerd. */
  reference: string;
}

/** containerd's own limit on the layers of a pull that are downloaded at once. */
const DOWNLOADS = 3;
/** How often a key or a snapshot may come and go under our hands. */
const ATTEMPTS = 5;

interface Task {
  layer: ImageLayer;
  diffId: DiffId;
  chainId: ChainId;
  parent: string;
  labels: Record<string, string>;
}

export class LayerPlacer {
  readonly #options: PlacerOptions;
  readonly #parts: RegistryImage;
  readonly #downloads = pLimit(DOWNLOADS);
  readonly #fetches = new Map<Digest, { done: Promise<void>; stop: AbortController }>();
  #anyPrepared = false;

  constructor(parts: RegistryImage, options: PlacerOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Places every layer. @throws SiphonError; no active snapshot is left then */
  async placeAll(): Promise<PlacedLayer[]> {
    const tasks = this.#tasks();
    const placed: PlacedLayer[] = [];
    for (const { layer } of tasks) this.#tell(layer.descriptor, 'waiting');
    try {
      for (const [at, task] of tasks.entries()) {
        const { descriptor } = task.layer;
        const how = await this.#place(task, tasks.slice(at + 1));
        if (how === 'prepared') this.#anyPrepared = true;
        if (how !== 'unpacked') await this.#stopFetch(descriptor.digest);
        const here = how === 'prepared' ? 0 : descriptor.size;
        this.#tell(descriptor, how === 'unpacked' ? 'done' : how, here);
        placed.push({
          digest: descriptor.digest,
          chainId: task.chainId,
          size: descriptor.size,
          how,
        });
      }
    } finally {
      await Promise.all([...this.#fetches.keys()].map((digest) => this.#stopFetch(digest)));
    }
    return placed;
  }

  #tasks(): Task[] {
    const { image, chain, descriptor: manifest } = this.#parts;
    const { reference } = this.#options;
    const descriptors = image.layers.map((layer) => layer.descriptor);
    return image.layers.map((layer, at) => {
      const { diffId } = layer;
      const chainId = chain[at];
      if (diffId === undefined || chainId === undefined) throw new Error('layer without diff id');
      const layers = [layer.descriptor, ...descriptors.slice(at + 1)] as const;
      return {
        layer,
        diffId,
        chainId,
        parent: chain[at - 1] ?? '',
        labels: snapshotLabels({ reference, manifest: manifest.digest, chainId, layers }),
      };
    });
  }

  async #place(task: Task, above: Task[]): Promise<PlacedLayer['how']> {
    if (await this.#exists(task.chainId)) return 'exists';
    // One that is fetched ahead has a status already.
    if (!this.#fetches.has(task.layer.descriptor.digest)) {
      this.#tell(task.layer.descriptor, 'preparing');
    }
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const key = `extract-${Date.now()}-${randomBytes(4).toString('hex')} ${task.chainId}`;
      const mounts = await this.#prepare(key, task);
      if (mounts !== undefined) return this.#unpackInto(key, mounts, task, above);
      if (await this.#exists(task.chainId)) return 'prepared';
    }
    throw new SiphonError(
      'busy',
      `Cannot prepare layer "${task.layer.descriptor.digest}": its snapshot comes and goes, expected nobody to remove it`,
    );
  }

  /** @returns `undefined` where the snapshotter says that what is asked for exists */
  async #prepare(key: string, { parent, labels, layer }: Task): Promise<Mount[] | undefined> {
    const { snapshotter } = this.#options;
    const request = { snapshotter, key, parent, labels };
    const purpose = `prepare layer "${layer.descriptor.digest}" with snapshotter "${snapshotter}"`;
    try {
      const { mounts } = await this.#call<{ mounts: Mount[] }>(purpose, (metadata, options, done) =>
        this.#options.connection.snapshots.prepare(request, metadata, options, done),
      );
      return mounts;
    } catch (error) {
      if (errorCode(error) === 'already-exists') return undefined;
      await this.#removeActive(key);
      throw error;
    }
  }

  async #unpackInto(
    key: string,
    mounts: Mount[],
    task: Task,
    above: Task[],
  ): Promise<PlacedLayer['how']> {
    try {
      const fetched = this.#fetch(task.layer);
      if (!this.#anyPrepared) for (const { layer } of above) this.#fetch(layer).catch(() => {});
      await fetched;
      this.#tell(task.layer.descriptor, 'unpacking', task.layer.descriptor.size);
      await this.#apply(mounts, task);
      await this.#commit(key, task);
      return 'unpacked';
    } catch (error) {
      await this.#removeActive(key);
      // Another pull of the same layer was faster.
      if (errorCode(error) === 'already-exists' && (await this.#exists(task.chainId))) {
        return 'exists';
      }
      throw error;
    }
  }

  async #apply(mounts: Mount[], { layer, diffId }: Task): Promise<void> {
    const { connection, signal } = this.#options;
    const { digest, size, mediaType } = layer.descriptor;
    const diff = { mediaType, digest, size: BigInt(size), annotations: {} };
    const { applied } = await this.#call<{ applied?: { digest: string } | undefined }>(
      `unpack layer "${digest}"`,
      (metadata, options, done) => connection.diff.apply({ diff, mounts }, metadata, options, done),
    );
    if (applied?.digest !== diffId) {
      throw new SiphonError(
        'corrupt',
        `Cannot unpack layer "${digest}": its tar has digest ${applied?.digest}, expected ${diffId}`,
      );
    }
    const labels = { [uncompressedLabel]: diffId };
    await labelBlob(connection, { descriptor: layer.descriptor, labels, signal });
  }

  async #commit(key: string, { chainId, labels }: Task): Promise<void> {
    const { connection, snapshotter } = this.#options;
    const request = { snapshotter, name: chainId, key, labels, parent: '' };
    await this.#call(`commit snapshot "${chainId}"`, (metadata, options, done) =>
      connection.snapshots.commit(request, metadata, options, done),
    );
  }

  /** Whether the snapshot is there; then it is held by the lease. */
  async #exists(name: string): Promise<boolean> {
    const { connection, lease, snapshotter, signal } = this.#options;
    try {
      await this.#call(`look for snapshot "${name}"`, (metadata, options, done) =>
        connection.snapshots.stat({ snapshotter, key: name }, metadata, options, done),
      );
      await lease.holdSnapshot(snapshotter, name, signal);
      return true;
    } catch (error) {
      if (errorCode(error) === 'not-found') return false;
      throw error;
    }
  }

  /** Whatever happens; what it misses goes with the lease. */
  async #removeActive(key: string): Promise<void> {
    const { connection, snapshotter } = this.#options;
    await connection
      .call({ purpose: `remove snapshot "${key}"` }, (metadata, options, done) =>
        connection.snapshots.remove({ snapshotter, key }, metadata, options, done),
      )
      .catch(() => undefined);
  }

  /** Fetches a layer into containerd's content store, once. */
  #fetch(layer: ImageLayer): Promise<void> {
    const { digest } = layer.descriptor;
    const known = this.#fetches.get(digest);
    if (known !== undefined) return known.done;
    const stop = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, stop.signal]);
    const done = this.#downloads(() => this.#download(layer, signal));
    this.#fetches.set(digest, { done, stop });
    return done;
  }

  async #stopFetch(digest: Digest): Promise<void> {
    const fetching = this.#fetches.get(digest);
    fetching?.stop.abort();
    await fetching?.done.catch(() => undefined);
  }

  async #download(layer: ImageLayer, signal: AbortSignal): Promise<void> {
    const { connection } = this.#options;
    const { descriptor } = layer;
    this.#tell(descriptor, 'downloading');
    let source: BlobSource | undefined;
    const read = async function* (this: LayerPlacer, offset: number): AsyncGenerator<Uint8Array> {
      source = await this.#parts.image.openLayer(layer, signal);
      yield* source.stream(signal, offset);
    };
    try {
      await writeBlob(connection, {
        kind: 'layer',
        descriptor,
        labels: this.#parts.source,
        read: read.bind(this),
        signal,
        onProgress: (done) => this.#tell(descriptor, 'downloading', done),
      });
      this.#tell(descriptor, 'downloaded', descriptor.size);
    } finally {
      await source?.close();
    }
  }

  #call<T>(purpose: string, start: Parameters<typeof Connection.prototype.call<T>>[1]): Promise<T> {
    const { connection, signal } = this.#options;
    const context: CallContext = { purpose, signal, timeout: longCall };
    return connection.call(context, start);
  }

  #tell({ digest, size }: Descriptor, status: PullEvent['status'], done = 0): void {
    this.#options.onEvent?.({ kind: 'layer', digest, status, done, total: size });
  }
}
