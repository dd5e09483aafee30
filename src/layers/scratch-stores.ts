/**
 * Content stores for as long as an image is open. The service needs an image's documents (manifest,
 * config, what was published beside it) only until its layers are ready, so they are nobody's to keep:
 * each open image has a folder of its own, which goes with it. What a killed process left goes at the
 * next start.
 */

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ContentStore } from '../content/content-store.js';

export class ScratchStores {
  readonly #directory: string;
  readonly #folders = new Map<AbortSignal, string>();

  /** @param root siphon's, where the folder `scratch` is this object's alone */
  constructor(root: string) {
    this.#directory = join(root, 'scratch');
  }

  /** A new store that belongs to `owner`. @throws the system error where it cannot be made */
  async open(owner: AbortSignal): Promise<ContentStore> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const folder = await mkdtemp(join(this.#directory, 'image-'));
    this.#folders.set(owner, folder);
    return ContentStore.open(folder, { durable: false });
  }

  /** Removes the owner's store, where it has one. */
  async remove(owner: AbortSignal): Promise<void> {
    const folder = this.#folders.get(owner);
    this.#folders.delete(owner);
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }

  /** Removes all of them, those of earlier processes too. */
  async clear(): Promise<void> {
    this.#folders.clear();
    await rm(this.#directory, { recursive: true, force: true });
  }
}
