/**
 * Layers as plain files for the snapshotter. A client asks for the layers of an image one after the
 * other; so those above the first are unpacked ahead, each into a folder of its own, and moved to their
 * place when they are asked for. Only then is it known what the directories are that a layer needs and
 * does not list, because that is said by the layers below.
 *
 * A power cut must not leave a snapshot that is recorded and whose files are empty. containerd (1.6)
 * takes that risk; here they are written out before the snapshot is recorded.
 */

import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestHex } from '../common/digest.js';
import { untilAborted } from '../common/until-aborted.js';
import type { Image, ImageLayer } from '../content/image.js';
import { syncTree } from '../unpack/sync-tree.js';
import {
  type InheritOptions,
  type UnpackedLayer,
  inheritDirectories,
  unpackLayer,
} from '../unpack/unpack-layer.js';
import { indexExpectation } from './layer-store.js';

/** A layer's files in a folder that nobody else has. */
interface Staged extends Pick<UnpackedLayer, 'diffId' | 'implicitDirectories' | 'rootDescribed'> {
  folder: string;
}

interface Ahead {
  staging: Promise<Staged>;
  /** Aborted when the image is not needed any more for whose sake it was begun. */
  ended: AbortSignal;
}

export class UnpackedLayers {
  readonly #folder: string;
  readonly #ahead = new Map<Digest, Ahead>();

  /** @param root siphon's; a service is alone in using the folder `unpacking` in it, and begins with none */
  static async open(root: string): Promise<UnpackedLayers> {
    const folder = join(root, 'unpacking');
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { mode: 0o700 });
    return new UnpackedLayers(folder);
  }

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Unpacks a layer that will be asked for, until `ended`. @throws as unpackLayer */
  async unpackAhead(image: Image, layer: ImageLayer, ended: AbortSignal): Promise<void> {
    const { digest } = layer.descriptor;
    if (this.#ahead.has(digest)) return;
    const staging = this.#stage(image, layer, ended);
    const ahead = { staging, ended };
    this.#ahead.set(digest, ahead);
    try {
      await staging;
    } catch (error) {
      if (this.#ahead.get(digest) === ahead) this.#ahead.delete(digest);
      throw error;
    }
  }

  /** Puts a layer's files into a folder. @throws as unpackLayer, SiphonError `cancelled` */
  async unpack(
    image: Image,
    layer: ImageLayer,
    { target, parents }: Pick<InheritOptions, 'target' | 'parents'>,
    signal: AbortSignal,
  ): Promise<void> {
    const staged = await this.#take(image, layer, signal);
    try {
      if (!staged.rootDescribed) await copyRoot(target, staged.folder);
      await rename(staged.folder, target);
    } catch (error) {
      await removeFolder(staged.folder);
      throw error;
    }
    inheritDirectories({ target, directories: staged.implicitDirectories, parents });
    await syncTree(target);
  }

  /** Removes what was unpacked ahead until `ended` and nobody asked for. */
  async removeUnasked(ended: AbortSignal): Promise<void> {
    for (const [digest, ahead] of this.#ahead) {
      if (ahead.ended !== ended) continue;
      this.#ahead.delete(digest);
      await removeStaged(ahead.staging);
    }
  }

  async #take(image: Image, layer: ImageLayer, signal: AbortSignal): Promise<Staged> {
    const { digest } = layer.descriptor;
    const ahead = this.#ahead.get(digest);
    if (ahead === undefined) return this.#stage(image, layer, signal);
    this.#ahead.delete(digest);
    try {
      const staged = await untilAborted(ahead.staging, signal);
      if (layer.diffId === undefined || staged.diffId === layer.diffId) return staged;
    } catch (error) {
      if (signal.aborted) {
        void removeStaged(ahead.staging);
        throw error;
      }
    }
    // Its image ended, said something else of the layer, or the attempt failed; this one's signal is its own.
    void removeStaged(ahead.staging);
    return this.#stage(image, layer, signal);
  }

  async #stage(image: Image, layer: ImageLayer, signal: AbortSignal): Promise<Staged> {
    const { digest, size } = layer.descriptor;
    const folder = join(this.#folder, `${digestHex(digest)}-${randomBytes(4).toString('hex')}`);
    const { identity, diffId } = layer;
    const expected = indexExpectation({ blobDigest: digest, blobSize: size, identity }, diffId);
    const blob = await image.openLayer(layer, signal);
    try {
      const {
        diffId: found,
        implicitDirectories,
        rootDescribed,
      } = await unpackLayer({
        source: blob.stream(signal),
        target: folder,
        form: 'overlay',
        fresh: true,
        // As a lazy layer's root is described.
        rootEntry: true,
        expected,
        signal,
      });
      return { folder, diffId: found, implicitDirectories, rootDescribed };
    } finally {
      await blob.close();
    }
  }
}

async function copyRoot(from: string, to: string): Promise<void> {
  const { uid, gid, mode } = await stat(from);
  await chown(to, uid, gid);
  await chmod(to, mode & 0o7777);
}

async function removeStaged(staging: Promise<Staged>): Promise<void> {
  const staged = await staging.catch(() => undefined);
  if (staged !== undefined) await removeFolder(staged.folder);
}

async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}
