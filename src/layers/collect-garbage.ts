/**
 * Takes away what nothing refers to. In use, and left alone, is
 *
 * - what an image's name leads to, and what a live lease names or brings;
 * - a layer that a living process holds (a mount, a run, the service), with its blob;
 * - a layer that came for a snapshot: the service alone knows when it may go. On a root that has been a
 *   service's, a layer that no name leads to any more is left to the service, which removes it at
 *   its next start unless a snapshot uses it;
 * - a blob that carries the label `containerd.io/gc.root`.
 *
 * Everything else goes: layers with their indexes and spans, blobs, ingests that nobody goes on with, and
 * facts remembered about what is gone. While a process looks an image up whose parts it cannot name yet,
 * nothing goes at all.
 */

import { existsSync } from 'node:fs';
import { join, sep } from 'node:path';
import { type Digest, isDigest } from '../common/digest.js';
import { diskUsage } from '../common/disk-usage.js';
import { errorCode } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { ContentStore } from '../content/content-store.js';
import { ImageDatabase, type LiveLease } from '../content/image-database.js';
import { reachableFrom } from '../content/reachable.js';
import { walkBlobs } from '../content/walk-blobs.js';
import { LayerIndex } from '../index/layer-index.js';
import { type LayerRecord, LayerStore } from './layer-store.js';

export interface GarbageOptions {
  root: string;
  log: Logger;
}

export interface CollectedGarbage {
  /** Blobs removed. */
  blobs: Digest[];
  /** Layers removed, by the digest of their blob. */
  layers: Digest[];
  /** Layers that only the service may remove, at its next start. */
  leftToService: Digest[];
  /** Bytes on disk of the blobs and layers removed. */
  bytes: number;
  /** The process that kept everything from going, where one did. */
  waitedFor?: number;
}

const ROOT_LABEL = 'containerd.io/gc.root';

/** @throws the system error where something cannot be removed; the rest may be gone then */
export async function collectGarbage({ root, log }: GarbageOptions): Promise<CollectedGarbage> {
  using images = ImageDatabase.open(root);
  const content = await ContentStore.open(root);
  using layers = LayerStore.open(root, process.pid, log);
  return await images.exclusively(async () => {
    const leases = await images.liveLeases();
    const unnamed = leases.find(({ resources }) => resources.length === 0);
    if (unnamed !== undefined) return nothing(unnamed.pid);
    const collection = new Collection({ root, images, content, layers, leases });
    return collection.run();
  });
}

function nothing(pid: number): CollectedGarbage {
  return { blobs: [], layers: [], leftToService: [], bytes: 0, waitedFor: pid };
}

interface Parts {
  root: string;
  images: ImageDatabase;
  content: ContentStore;
  layers: LayerStore;
  leases: readonly LiveLease[];
}

class Collection {
  readonly #parts: Parts;
  readonly #collected: CollectedGarbage = { blobs: [], layers: [], leftToService: [], bytes: 0 };

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async run(): Promise<CollectedGarbage> {
    const { images, content, leases, layers } = this.#parts;
    const targets = images.list().map(({ target }) => target);
    const roots = [...targets, ...leases.flatMap(({ resources }) => resources)];
    const used = await reachableFrom(content, roots);
    await this.#collectLayers(used);
    await layers.removeOrphans();
    const unsettled = leases.filter(({ settled }) => !settled).map(({ created }) => created);
    // Infinity where all have what they need.
    const since = Math.min(...unsettled);
    await this.#collectBlobs(used, since);
    await content.abandonIngests((ref) => isDigest(ref) && used.has(ref));
    await content.tidy(since);
    return this.#collected;
  }

  async #collectLayers(used: ReadonlySet<Digest>): Promise<void> {
    const { root, layers } = this.#parts;
    const isServices = existsSync(join(root, 'metadata.db'));
    for (const { number, blobDigest } of layers.list()) {
      if (used.has(blobDigest)) continue;
      const wasKept = layers.unkeep(number);
      if (isServices) {
        if (wasKept) this.#collected.leftToService.push(blobDigest);
        continue;
      }
      const { size } = await diskUsage(layers.directory(number));
      if (!(await layers.remove(number, () => {}))) continue;
      this.#collected.layers.push(blobDigest);
      this.#collected.bytes += size;
    }
  }

  /** @param since blobs that came then or later are in use */
  async #collectBlobs(used: ReadonlySet<Digest>, since: number): Promise<void> {
    const { images, content, layers } = this.#parts;
    // A layer is recorded before its blob comes, so the blobs are listed first.
    const blobs = [];
    for await (const blob of walkBlobs(content, images)) blobs.push(blob);
    const ofLayers = new Set(layers.list().flatMap((layer) => blobsOf(layer, this.#parts)));
    for (const { digest, size, written, labels } of blobs) {
      const isInUse = used.has(digest) || ofLayers.has(digest) || written >= since;
      if (isInUse || ROOT_LABEL in labels) continue;
      await content.delete(digest);
      images.dropLabels(digest);
      this.#collected.blobs.push(digest);
      this.#collected.bytes += size;
    }
  }
}

/** The blobs that a layer is read from, where they are in the content store. */
function blobsOf(layer: LayerRecord, { content, layers }: Parts): Digest[] {
  const blobs: Digest[] = [layer.blobDigest];
  if (layer.identity === 'location') {
    const actual = actualDigest(layers.indexPath(layer.number));
    if (actual !== undefined) blobs.push(actual);
  }
  if (layer.origin.kind === 'file') {
    const named = `sha256:${layer.origin.path.split(sep).at(-1) ?? ''}`;
    if (isDigest(named) && content.path(named) === layer.origin.path) blobs.push(named);
  }
  return blobs;
}

function actualDigest(indexPath: string): Digest | undefined {
  try {
    using index = LayerIndex.open(indexPath);
    return index.info.blobDigest;
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return undefined;
  }
}
