/**
 * Remote snapshots: committed by the snapshotter itself, with a lazy layer as their content, or with a
 * folder that the layer's files were put into.
 *
 * Invariants: a layer is recorded by a snapshot before whoever asked for it hears of success; a layer
 * is released only while nobody prepares one, because a prepare may just be receiving the number of a
 * layer that is served already; a release is recorded with the removal that caused it, so that a later
 * process makes good what this one did not come to.
 */

import { stat } from 'node:fs/promises';
import type { DiskUsage } from '../common/disk-usage.js';
import { digestHex, digestOf } from '../common/digest.js';
import { isDiskFull } from '../common/disk-full.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { SharedWork } from '../common/shared-work.js';
import type { SpaceReserve } from '../common/space-reserve.js';
import { untilAborted } from '../common/until-aborted.js';
import type { SnapshotDirectories } from './directories.js';
import { type LayerNaming, layerNaming, targetLabel } from './labels.js';
import type { LazyLayers, Lower, RootAttributes, UnpackReason } from './lazy-layers.js';
import type { Metadata } from './metadata.js';
import type { OverlayLayers } from './overlay.js';
import type { Labels, Snapshot } from './snapshot.js';

/** Layers restored at once at start. */
const RESTORES = 4;

/** Whether an ordinary snapshot would not help after this failure. */
function isHopeless(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'cancelled' || code === 'unavailable' || isDiskFull(error);
}

export interface RemoteSnapshotRequest {
  key: string;
  parent: string;
  labels: Labels;
}

interface CommitRequest extends RemoteSnapshotRequest {
  lazy: LazyLayers;
  target: string;
  naming: LayerNaming;
}

export class RemoteSnapshots {
  readonly #lazy: LazyLayers | undefined;
  readonly #metadata: Metadata;
  readonly #directories: SnapshotDirectories;
  readonly #reserve: SpaceReserve;
  readonly #log: Logger;
  /** Also those that nobody waits for any more. */
  readonly #commits = new Set<Promise<void>>();
  readonly #preparing = new SharedWork<string, void>();
  /** Snapshots that get a folder in place of a layer that cannot be served. */
  readonly #replacing = new SharedWork<string, void>();
  /** Layers that this process has made servable, or is about to. */
  readonly #served = new Map<number, Promise<void>>();
  #holders = 0;
  #draining: Promise<void> | undefined;

  constructor(parts: {
    lazy: LazyLayers | undefined;
    metadata: Metadata;
    directories: SnapshotDirectories;
    reserve: SpaceReserve;
    log: Logger;
  }) {
    this.#lazy = parts.lazy;
    this.#metadata = parts.metadata;
    this.#directories = parts.directories;
    this.#reserve = parts.reserve;
    this.#log = parts.log;
  }

  /**
   * Tries to commit the layer that the labels name as a remote snapshot.
   * @returns the name it was to be committed as, or `undefined` where the layer is left to containerd;
   * the reason is logged
   * @throws SiphonError `unavailable` where nobody could have the layer; that the disk is full; what
   * aborted `signal`
   */
  async tryCommit(
    request: RemoteSnapshotRequest,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const target = request.labels[targetLabel];
    const naming = layerNaming(request.labels);
    if (!target || this.#lazy === undefined || naming === undefined) return undefined;
    const lazy = this.#lazy;
    try {
      const key = JSON.stringify([target, request.parent, naming.layerDigest]);
      await this.#preparing.run(key, signal, (shared) =>
        this.#track(this.#commit({ ...request, lazy, target, naming }, shared)),
      );
      return target;
    } catch (error) {
      if (signal.aborted || isHopeless(error)) throw error;
      const { reference, layerDigest } = naming;
      const about = { key: request.key, target, reference, layerDigest, code: errorCode(error) };
      // Without a code it is a defect, which is worth its stack.
      const detail = errorCode(error) === undefined ? { ...about, err: error } : about;
      this.#log.warn(detail, `layer is left to containerd: ${errorMessage(error)}`);
      return undefined;
    }
  }

  /**
   * The committed snapshot `name` and all below it, each of which can be read when this resolves. Where a
   * lazy layer cannot be served any more, the snapshot gets its files in a folder instead.
   * @throws SiphonError `unavailable` naming the snapshot; `not-found`, `invalid`; what aborted `signal`
   */
  async readableChain(name: string, signal: AbortSignal): Promise<Snapshot[]> {
    const chain = this.#metadata.parentChain(name);
    const outcomes = await Promise.all(chain.map((one) => this.#tryServe(one, signal)));
    if (outcomes.every((outcome) => outcome === undefined)) return chain;
    // Bottom first: directories take after those below.
    for (const [at, outcome] of [...outcomes.entries()].toReversed()) {
      const snapshot = chain[at];
      if (outcome !== undefined && snapshot !== undefined)
        await this.#replaceByFolder(snapshot, outcome.error, signal);
    }
    return this.#metadata.parentChain(name);
  }

  /**
   * The folders with the snapshots' own content, in their order: for a lazy one perhaps several.
   * @throws SiphonError `unavailable` where lazy layers are off
   */
  folders(snapshots: readonly Snapshot[]): Pick<OverlayLayers, 'lowers' | 'dispensable'> {
    const dispensable = new Set<string>();
    const lowers = this.#lowers(snapshots).flatMap((lower) => {
      if (typeof lower === 'string') return [lower];
      const above = this.#layers().above(lower.layer);
      for (const path of above) dispensable.add(path);
      const own = [...above, this.#layers().path(lower.layer)];
      return lower.implied === undefined ? own : [lower.implied, ...own];
    });
    return { lowers, dispensable };
  }

  /**
   * What the topmost of the snapshots says of its root.
   * @throws SiphonError `not-found`, or the system error ENOENT, where it was removed meanwhile
   */
  async root(snapshots: readonly Snapshot[]): Promise<RootAttributes | undefined> {
    const [lower] = this.#lowers(snapshots.slice(0, 1));
    if (lower === undefined) return undefined;
    if (typeof lower === 'string') return stat(lower);
    return lower.implied === undefined ? this.#layers().root(lower.layer) : stat(lower.implied);
  }

  /** Releases what an earlier process left; to be called before anything is prepared. */
  async sweep(): Promise<void> {
    await this.#lazy?.sweep(new Set(this.#metadata.lazyNumbers()));
  }

  /** Restores every layer in use; what fails is logged, and tried again when it is needed. */
  async restoreAll(signal: AbortSignal): Promise<void> {
    const numbers = this.#lazy === undefined ? [] : this.#metadata.lazyNumbers();
    const restoreSome = async (): Promise<void> => {
      for (
        let number = numbers.shift();
        number !== undefined && !signal.aborted;
        number = numbers.shift()
      ) {
        await this.#serveLayer(number).catch((error: unknown) => {
          this.#log.warn(
            { layer: number, err: error },
            `lazy layer is not restored: ${errorMessage(error)}`,
          );
        });
      }
    };
    await Promise.all(Array.from({ length: RESTORES }, restoreSome));
  }

  /** What a lazy layer takes on this machine's disk. */
  usage(number: number): Promise<DiskUsage> {
    return this.#layers().usage(number);
  }

  /** Releases the layers that no snapshot uses; failures are logged and tried again the next time. */
  async releaseUnused(): Promise<void> {
    if (this.#lazy === undefined || this.#holders > 0) return;
    const lazy = this.#lazy;
    this.#draining ??= this.#drain(lazy);
    await this.#draining;
  }

  /** Resolves when no layer is being prepared or released. */
  async idle(): Promise<void> {
    while (this.#commits.size > 0) await Promise.allSettled(this.#commits);
    await this.#draining;
  }

  #lowers(snapshots: readonly Snapshot[]): Lower[] {
    return snapshots.map(({ id, lazyNumber: layer }) =>
      layer === undefined
        ? this.#directories.fs(id)
        : { layer, implied: this.#directories.dirs(id) },
    );
  }

  #track(commit: Promise<void>): Promise<void> {
    const tracked = commit.finally(() => this.#commits.delete(tracked));
    this.#commits.add(tracked);
    return tracked;
  }

  async #commit(request: CommitRequest, signal: AbortSignal): Promise<void> {
    const { lazy, target, parent, naming } = request;
    if (this.#freeName(target, parent) === undefined) return;
    // What is wrong with the parent is told by the ordinary way, before a layer is fetched in vain.
    this.#metadata.parentChain(parent);
    await this.#hold(async () => {
      const prepared = await lazy.prepare({ ...naming, signal });
      if (prepared.kind === 'files') await this.#commitFiles(request, prepared.reason, signal);
      else await this.#commitLazy(request, prepared.number, signal);
    });
  }

  async #commitLazy(request: CommitRequest, number: number, signal: AbortSignal): Promise<void> {
    try {
      const parents = this.#lowers(await this.readableChain(request.parent, signal));
      const id = this.#metadata.allocateId();
      const record = (): boolean => {
        const recorded = this.#record(request, { id, lazyNumber: number }, signal);
        if (recorded) this.#served.set(number, Promise.resolve());
        return recorded;
      };
      const fill = (target: string): Promise<void> =>
        request.lazy.writeImplied(number, { target, parents });
      const recorded = await this.#directories.createLazy(id, { record, fill });
      if (!recorded) await this.#directories.remove(id);
    } finally {
      if (!this.#metadata.usesLayer(number)) this.#metadata.requestRelease(number);
    }
  }

  async #commitFiles(
    request: CommitRequest,
    reason: UnpackReason,
    signal: AbortSignal,
  ): Promise<void> {
    const { lazy, parent, naming } = request;
    const chain = await this.readableChain(parent, signal);
    const [parents, like] = [this.#lowers(chain), await this.root(chain)];
    const id = this.#metadata.allocateId();
    const record = (): boolean => this.#record(request, { id }, signal);
    const fill = (fs: string): Promise<void> =>
      lazy.unpack({ ...naming, signal }, { target: fs, parents, reason });
    const recorded = await this.#directories.create(id, { like }, { record, fill });
    if (!recorded) await this.#directories.remove(id);
  }

  /** @returns whether it was still to be recorded */
  #record(
    { target, parent, labels }: CommitRequest,
    content: { id: number; lazyNumber?: number },
    signal: AbortSignal,
  ): boolean {
    signal.throwIfAborted();
    const name = this.#freeName(target, parent);
    if (name !== undefined)
      this.#metadata.create({ ...content, name, parent, kind: 'committed', labels });
    return name !== undefined;
  }

  /** @returns why the snapshot's lazy layer cannot be served, in an object, for anything can be thrown */
  async #tryServe(
    { lazyNumber }: Snapshot,
    signal: AbortSignal,
  ): Promise<{ error: unknown } | undefined> {
    if (lazyNumber === undefined) return undefined;
    try {
      await untilAborted(this.#serveLayer(lazyNumber), signal);
      return undefined;
    } catch (error) {
      if (signal.aborted) throw error;
      return { error };
    }
  }

  async #replaceByFolder(
    { name, lazyNumber, labels }: Snapshot,
    because: unknown,
    signal: AbortSignal,
  ): Promise<void> {
    const message = `Cannot serve snapshot "${name}" from lazy layer ${lazyNumber}: ${errorMessage(because)}`;
    const naming = layerNaming(labels);
    if (this.#lazy === undefined || naming === undefined)
      throw new SiphonError('unavailable', message, { cause: because });
    const lazy = this.#lazy;
    const reason = { reason: 'not-served', detail: message } as const;
    try {
      await this.#replacing.run(name, signal, (shared) =>
        this.#track(this.#hold(() => this.#replace(name, { lazy, naming, reason }, shared))),
      );
    } catch (error) {
      if (signal.aborted || errorCode(error) === 'cancelled') throw error;
      const both = `${message}; nor can it be unpacked: ${errorMessage(error)}`;
      throw new SiphonError('unavailable', both, { cause: error });
    }
  }

  async #replace(
    name: string,
    { lazy, naming, reason }: { lazy: LazyLayers; naming: LayerNaming; reason: UnpackReason },
    signal: AbortSignal,
  ): Promise<void> {
    const [snapshot, ...below] = this.#metadata.chain(name);
    // Another caller was faster.
    if (snapshot?.lazyNumber === undefined) return;
    const [parents, like] = [this.#lowers(below), await this.root(below)];
    const record = (): void => {
      signal.throwIfAborted();
      this.#metadata.becomeFolder(name);
    };
    const fill = (target: string): Promise<void> =>
      lazy.unpack({ ...naming, signal }, { target, parents, reason });
    await this.#directories.addContent(snapshot.id, { like }, { record, fill });
  }

  /**
   * The name for a remote snapshot, or `undefined` where it exists. Usually the target; but the same
   * target on another parent (one namespace has unpacked the layers below, another has them lazily)
   * needs a name of its own, which containerd learns from List.
   */
  #freeName(target: string, parent: string): string | undefined {
    const names = [target, `${target}+${digestHex(digestOf(parent)).slice(0, 16)}`];
    for (const name of names) {
      const found = this.#metadata.find(name);
      if (found === undefined) return name;
      const fits =
        found.kind === 'committed' &&
        found.parent === parent &&
        found.labels[targetLabel] === target;
      if (fits) return undefined;
    }
    throw new SiphonError(
      'already-exists',
      `Cannot commit "${target}": other snapshots have its names`,
    );
  }

  #serveLayer(number: number): Promise<void> {
    const known = this.#served.get(number);
    if (known !== undefined) return known;
    const restoring = this.#restore(number);
    this.#served.set(number, restoring);
    restoring.catch(() => {
      if (this.#served.get(number) === restoring) this.#served.delete(number);
    });
    return restoring;
  }

  async #restore(number: number): Promise<void> {
    await this.#layers().restore(number);
  }

  #layers(): LazyLayers {
    if (this.#lazy !== undefined) return this.#lazy;
    throw new SiphonError(
      'unavailable',
      'lazy layers are switched off, expected them on as when it was pulled',
    );
  }

  async #hold(work: () => Promise<void>): Promise<void> {
    while (this.#draining !== undefined) await this.#draining;
    this.#holders += 1;
    try {
      await work();
    } finally {
      this.#holders -= 1;
      await this.releaseUnused();
    }
  }

  /** Clears `#draining` in the same step that finds nothing more to do. */
  async #drain(lazy: LazyLayers): Promise<void> {
    // The caller stores this promise first, so that clearing comes after.
    await Promise.resolve();
    const failed = new Set<number>();
    try {
      for (;;) {
        const number = this.#metadata.pendingReleases().find((pending) => !failed.has(pending));
        if (number === undefined) return;
        if (!(await this.#tryRelease(lazy, number))) failed.add(number);
      }
    } finally {
      this.#draining = undefined;
    }
  }

  async #tryRelease(lazy: LazyLayers, number: number): Promise<boolean> {
    try {
      await this.#reserve.withRoom(async () => {
        if (!this.#metadata.usesLayer(number)) await this.#release(lazy, number);
        this.#metadata.confirmRelease(number);
      });
      return true;
    } catch (error) {
      const message = `lazy layer is not released: ${errorMessage(error)}`;
      this.#log.warn({ layer: number, err: error }, message);
      return false;
    }
  }

  async #release(lazy: LazyLayers, number: number): Promise<void> {
    // A restore that still runs must not come after the release; whether it succeeds does not matter.
    await this.#served.get(number)?.catch(() => undefined);
    this.#served.delete(number);
    try {
      await lazy.release(number);
    } catch (error) {
      // Released before, and the process ended before it could note so.
      if (errorCode(error) !== 'not-found') throw error;
    }
  }
}
