/**
 * The folders of snapshots: `snapshots/<id>/fs` holds the content, `snapshots/<id>/work` is overlay's,
 * `snapshots/<id>/snapshot.json` is the snapshot's description. A lazy one has only that, and
 * `snapshots/<id>/dirs` where its layer needs directories that it does not describe.
 *
 * A folder is made before its snapshot is recorded and removed after the record went. A crash in
 * between leaves a folder without a record, never the other way round; {@link removeOrphans} finds it.
 */

import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { RootAttributes } from './lazy-layers.js';

/** Permissions of the root of an image that says nothing of its own. */
const ROOT_MODE = 0o755;
const PERMISSIONS = 0o7777;

export interface NewRoot {
  /** Whose owner and permissions it takes. */
  like: RootAttributes | undefined;
  /** Rather than of that one. */
  owner?: { uid: number; gid: number } | undefined;
}

export interface Filling<T> {
  /** Records the snapshot, once the folders are there. */
  record: () => T;
  /** Gets the new content folder before the snapshot is recorded. */
  fill?: (fs: string) => Promise<void>;
}

export class SnapshotDirectories {
  /** Holds them all. */
  readonly path: string;
  /** Folders whose snapshots are about to be recorded. */
  readonly #unrecorded = new Set<number>();

  /** Makes `<root>/snapshots` where it is missing. */
  static async open(root: string): Promise<SnapshotDirectories> {
    const directories = new SnapshotDirectories(join(root, 'snapshots'));
    await mkdir(directories.path, { recursive: true, mode: 0o700 });
    return directories;
  }

  private constructor(root: string) {
    this.path = root;
  }

  fs(id: number): string {
    return join(this.#folder(id), 'fs');
  }

  work(id: number): string {
    return join(this.#folder(id), 'work');
  }

  /** What is to stand directly above a lazy snapshot's layer, where there is such a folder. */
  dirs(id: number): string | undefined {
    const path = this.#dirs(id);
    return existsSync(path) ? path : undefined;
  }

  /**
   * Makes the folders of a snapshot and keeps them while `record` succeeds.
   * @param root whose owner and permissions the new root takes
   */
  async create<T>(id: number, root: NewRoot, { record, fill }: Filling<T>): Promise<T> {
    const make = async (): Promise<void> => {
      await this.#make(id);
      await this.#makeContent(id, root);
      await fill?.(this.fs(id));
    };
    return this.#keep(id, { make, record, undo: () => this.remove(id) });
  }

  /**
   * As {@link create} for a lazy snapshot.
   * @param fill gets the path of a folder that it may make, see {@link dirs}
   */
  async createLazy<T>(id: number, { record, fill }: Filling<T>): Promise<T> {
    const make = async (): Promise<void> => {
      await this.#make(id);
      await fill?.(this.#dirs(id));
    };
    return this.#keep(id, { make, record, undo: () => this.remove(id) });
  }

  /** As {@link create} for a recorded snapshot that was lazy; until it is recorded anew it stays as it was. */
  async addContent<T>(id: number, root: NewRoot, { record, fill }: Filling<T>): Promise<T> {
    const undo = (): Promise<void> => this.#removeContent(id);
    const make = async (): Promise<void> => {
      // What an attempt left that ended with its process.
      await this.#removeContent(id);
      await mkdir(this.#folder(id), { recursive: true, mode: 0o700 });
      await this.#makeContent(id, root);
      await fill?.(this.fs(id));
    };
    return this.#keep(id, { make, record, undo });
  }

  /** Removes a snapshot's folders, or what there is of them. */
  async remove(id: number): Promise<void> {
    await rm(this.#folder(id), { recursive: true, force: true });
  }

  /**
   * Removes folders that belong to no snapshot.
   * @param recorded ids of all snapshots, asked for after the folders were listed, so that a snapshot
   * recorded in between keeps its folder
   * @returns the names of what went
   */
  async removeOrphans(recorded: () => Set<number>): Promise<string[]> {
    const names = await readdir(this.path);
    const known = recorded();
    const orphans = names.filter(
      (name) => !known.has(Number(name)) && !this.#unrecorded.has(Number(name)),
    );
    for (const name of orphans) await rm(join(this.path, name), { recursive: true, force: true });
    return orphans;
  }

  #folder(id: number): string {
    return join(this.path, String(id));
  }

  #dirs(id: number): string {
    return join(this.#folder(id), 'dirs');
  }

  async #keep<T>(
    id: number,
    steps: { make: () => Promise<void>; record: () => T; undo: () => Promise<void> },
  ): Promise<T> {
    this.#unrecorded.add(id);
    try {
      await steps.make();
      return steps.record();
    } catch (error) {
      await steps.undo();
      throw error;
    } finally {
      this.#unrecorded.delete(id);
    }
  }

  async #make(id: number): Promise<void> {
    await mkdir(this.#folder(id), { mode: 0o700 });
  }

  async #makeContent(id: number, { like, owner }: NewRoot): Promise<void> {
    await mkdir(this.work(id), { mode: 0o711 });
    await mkdir(this.fs(id));
    const given = owner ?? like;
    if (given !== undefined) await chown(this.fs(id), given.uid, given.gid);
    await chmod(this.fs(id), like === undefined ? ROOT_MODE : like.mode & PERMISSIONS);
  }

  async #removeContent(id: number): Promise<void> {
    for (const folder of [this.work(id), this.fs(id)])
      await rm(folder, { recursive: true, force: true });
  }
}
