/**
 * The snapshotter without its wire: what each call of containerd's snapshots API does.
 *
 * A snapshot's content is its folder, or a lazy layer. Folders are made before the metadata knows of
 * the snapshot and removed after it has forgotten it, so that a crash leaves folders too many, never
 * too few.
 */

import { mkdir, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type DiskUsage, diskUsage } from '../common/disk-usage.js';
import { SiphonError, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { SpaceReserve } from '../common/space-reserve.js';
import { wallClock } from '../ffi/clock.js';
import { Descriptions } from './descriptions.js';
import { SnapshotDirectories } from './directories.js';
import { parseFilters } from '../common/filters.js';
import { applyLabelMask } from './label-mask.js';
import { idMappingOf } from './id-mapping.js';
import type { LazyLayers } from './lazy-layers.js';
import { RemoteSnapshots } from './remote-snapshots.js';
import type { CommitChange, Metadata } from './metadata.js';
import { type Mount, checkMountable, overlayMounts, overlayOptions } from './overlay.js';
import { openMetadata } from './recover-metadata.js';
import { type Labels, type Snapshot, type SnapshotKind, snapshotField } from './snapshot.js';

export interface CreateRequest {
  key: string;
  /** Name of a committed snapshot; empty for none. */
  parent: string;
  labels: Labels;
}

interface Parts {
  metadata: Metadata;
  directories: SnapshotDirectories;
  remote: RemoteSnapshots;
  reserve: SpaceReserve;
  overlayOptions: string[];
  remapIds: boolean;
  log: Logger;
}

export class Snapshotter implements AsyncDisposable {
  readonly #metadata: Metadata;
  readonly #directories: SnapshotDirectories;
  readonly #remote: RemoteSnapshots;
  readonly #reserve: SpaceReserve;
  readonly #overlayOptions: string[];
  readonly #remapIds: boolean;
  readonly #log: Logger;
  readonly #closing = new AbortController();
  #settling: Promise<void> = Promise.resolve();

  /**
   * Opens the snapshots under `root`, repairs what a crash left, and starts to restore lazy layers.
   * @throws SiphonError `busy` where another process serves this root, `usage`, `corrupt`
   */
  static async open(options: {
    root: string;
    lazy: LazyLayers | undefined;
    /** Whether whoever mounts understands `uidmap=` and `gidmap=` (capability `remap-ids` of containerd 2). */
    remapIds?: boolean;
    log: Logger;
  }): Promise<Snapshotter> {
    const root = resolve(options.root);
    checkMountable(root);
    await mkdir(root, { recursive: true, mode: 0o711 });
    const { log } = options;
    const reserve = new SpaceReserve(root, log);
    const directories = await SnapshotDirectories.open(root);
    const { path: snapshots } = directories;
    const descriptions = new Descriptions(snapshots, log);
    const metadata = openMetadata({ root, snapshots, descriptions, clock: wallClock, log });
    try {
      const remote = new RemoteSnapshots({
        lazy: options.lazy,
        metadata,
        directories,
        reserve,
        log,
      });
      const snapshotter = new Snapshotter({
        metadata,
        directories,
        remote,
        reserve,
        log,
        overlayOptions: await kernelOptions(),
        remapIds: options.remapIds ?? false,
      });
      await snapshotter.#removeOrphans();
      descriptions.align(metadata.list());
      await remote.sweep();
      await reserve.restore();
      snapshotter.#settling = snapshotter.#settle();
      return snapshotter;
    } catch (error) {
      metadata.close();
      throw error;
    }
  }

  private constructor(parts: Parts) {
    this.#metadata = parts.metadata;
    this.#directories = parts.directories;
    this.#remote = parts.remote;
    this.#reserve = parts.reserve;
    this.#overlayOptions = parts.overlayOptions;
    this.#remapIds = parts.remapIds;
    this.#log = parts.log;
  }

  /**
   * A new writable snapshot.
   * @throws SiphonError `already-exists` for the key, and as the answer that the layer which the labels
   * name needs no unpacking; `not-found`, `invalid` of the parent; `unavailable`
   */
  async prepare(request: CreateRequest, signal: AbortSignal): Promise<Mount[]> {
    const committed = await this.#remote.tryCommit(request, signal);
    if (committed !== undefined) {
      throw new SiphonError('already-exists', `target snapshot "${committed}": already exists`);
    }
    return this.#create('active', request, signal);
  }

  /** A new read-only snapshot. Errors as {@link prepare}. */
  async view(request: CreateRequest, signal: AbortSignal): Promise<Mount[]> {
    return this.#create('view', request, signal);
  }

  /** @throws SiphonError `not-found`; `failed-precondition` of a committed snapshot; `unavailable` */
  async mounts(key: string, signal: AbortSignal): Promise<Mount[]> {
    const snapshot = this.#metadata.get(key);
    if (snapshot.kind === 'committed') {
      const message = `Cannot mount snapshot "${key}": it is committed, expected an active one or a view`;
      throw new SiphonError('failed-precondition', message);
    }
    return this.#mountsOf(snapshot, await this.#remote.readableChain(snapshot.parent, signal));
  }

  /** Turns an active snapshot into a committed one. @throws as {@link Metadata.commit} */
  commit(change: CommitChange): void {
    requireName(change.name);
    this.#metadata.commit(change);
  }

  /** @throws SiphonError `not-found`, `failed-precondition` where it has children */
  async remove(key: string): Promise<void> {
    const { snapshot, released } = await this.#reserve.withRoom(() => this.#metadata.remove(key));
    // The snapshot is gone; what stays on disk now is cleaned up later.
    await this.#directories.remove(snapshot.id).catch((error: unknown) => {
      this.#log.warn(
        { key, err: error },
        `folder of a removed snapshot stays: ${errorMessage(error)}`,
      );
    });
    if (released !== undefined) await this.#remote.releaseUnused();
    await this.#reserve.restore();
  }

  /** @throws SiphonError `not-found` */
  stat(key: string): Snapshot {
    return this.#metadata.get(key);
  }

  /** @param paths the field mask, see {@link applyLabelMask}. @throws SiphonError `not-found`, `invalid` */
  update(name: string, labels: Labels, paths: readonly string[]): Snapshot {
    return this.#metadata.update(name, (current) => applyLabelMask(current, labels, paths));
  }

  /** All snapshots that match one of the filters, oldest first. @throws SiphonError `invalid` */
  list(filters: readonly string[]): Snapshot[] {
    return this.#metadata.list().filter(parseFilters(filters, snapshotField));
  }

  /** What the snapshot itself takes on disk, without its parents. @throws SiphonError `not-found` */
  async usage(key: string, signal: AbortSignal): Promise<DiskUsage> {
    const { id, kind, lazyNumber } = this.#metadata.get(key);
    if (kind === 'view') return { size: 0, inodes: 0 };
    if (lazyNumber !== undefined) return this.#remote.usage(lazyNumber);
    const noted = this.#metadata.usage(id);
    if (noted !== undefined) return noted;
    const usage = await diskUsage(this.#directories.fs(id), signal);
    // What is committed changes no more, and is counted once.
    if (kind === 'committed') this.#metadata.noteUsage(id, usage);
    return usage;
  }

  /** Removes what failed removals left. */
  async cleanup(): Promise<void> {
    await this.#removeOrphans();
    await this.#remote.releaseUnused();
  }

  /** Calls in flight must have ended. */
  async close(): Promise<void> {
    this.#closing.abort(new SiphonError('cancelled', 'the snapshotter closes'));
    await this.#settling;
    await this.#remote.idle();
    this.#metadata.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #create(kind: SnapshotKind, request: CreateRequest, signal: AbortSignal): Promise<Mount[]> {
    requireName(request.key);
    const parents = await this.#remote.readableChain(request.parent, signal);
    const snapshot = await this.#record(kind, request, { parents, signal });
    return this.#mountsOf(snapshot, parents);
  }

  async #record(
    kind: SnapshotKind,
    { key, parent, labels }: CreateRequest,
    { parents, signal }: { parents: readonly Snapshot[]; signal: AbortSignal },
  ): Promise<Snapshot> {
    const owner = idMappingOf(labels)?.root;
    const id = this.#metadata.allocateId();
    const record = (): Snapshot => {
      signal.throwIfAborted();
      return this.#metadata.create({ id, name: key, parent, kind, labels });
    };
    try {
      const like = await this.#remote.root(parents);
      return await this.#directories.create(id, { like, owner }, { record });
    } catch (error) {
      // A parent that was removed meanwhile shows as a folder or a layer that is not there.
      this.#metadata.parentChain(parent);
      throw error;
    }
  }

  #mountsOf(snapshot: Snapshot, parents: readonly Snapshot[]): Mount[] {
    const fs = this.#directories.fs(snapshot.id);
    const upper =
      snapshot.kind === 'active' ? { fs, work: this.#directories.work(snapshot.id) } : undefined;
    return overlayMounts({
      ...(upper && { upper }),
      ...this.#remote.folders(parents),
      empty: fs,
      options: this.#overlayOptions,
      ...(this.#remapIds && { idMapping: idMappingOf(snapshot.labels)?.options ?? [] }),
    });
  }

  async #removeOrphans(): Promise<void> {
    const removed = await this.#directories.removeOrphans(() => this.#metadata.ids());
    if (removed.length > 0)
      this.#log.info({ folders: removed }, 'removed folders without a snapshot');
  }

  async #settle(): Promise<void> {
    try {
      await this.#remote.releaseUnused();
      await this.#remote.restoreAll(this.#closing.signal);
    } catch (error) {
      this.#log.error({ err: error }, 'cannot put the lazy layers in order');
    }
  }
}

function requireName(name: string): void {
  if (name === '')
    throw new SiphonError(
      'invalid',
      'Cannot make a snapshot "": the name is empty, expected a name',
    );
}

async function kernelOptions(): Promise<string[]> {
  const uidMap = await readFile('/proc/self/uid_map', 'utf8');
  // Absent where overlay is a module that is not loaded yet; its usual default then.
  const index = await readFile('/sys/module/overlay/parameters/index', 'utf8').catch(() => 'N');
  return overlayOptions({ uidMap, index });
}
