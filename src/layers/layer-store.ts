/**
 * The layers that this root knows: a number, a folder and an origin for each.
 *
 * A layer's number is given once and never again (SQLite AUTOINCREMENT), because the kernel keeps it
 * in node ids for as long as it likes. The folder `<root>/layers/<number>` holds `index.db` and the
 * span cache; a row without an index is a layer whose preparation has not ended yet.
 *
 * Several processes may share a root (a service and any number of standalone mounts). Each says which
 * layers it holds, under its process id; a layer is only removed when no living process holds it. What
 * a person asked for is kept beyond that; what came for a snapshot's sake alone goes with the snapshot.
 */

import type Database from 'better-sqlite3';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { removeAbandoned } from '../common/atomic-file.js';
import { syncFiles } from '../common/sync-files.js';
import { SiphonError, systemCode } from '../common/errors.js';
import type { Digest, DiffId } from '../common/digest.js';
import { type Logger, silentLogger } from '../common/log.js';
import { processIsAlive } from '../common/process.js';
import type { ExpectedLayer } from '../index/expected-layer.js';
import { type LayerOrigin, parseLayerOrigin } from '../content/layer-origin.js';
import { type LayerRow, describeLayer, filesOfRow, openLayerDatabase } from './layer-database.js';

/** Ends the name of a folder on its way out. */
const GONE = '.gone';

/** A layer as recorded. `number` is at least 1. */
export interface LayerRecord {
  number: number;
  /** The layer's name; where `identity` is `location`, not the digest of its bytes. */
  blobDigest: Digest;
  identity: 'content' | 'location';
  /** Bytes of the blob, compressed as it is. */
  blobSize: number;
  mediaType: string;
  origin: LayerOrigin;
}

export class LayerStore implements Disposable {
  readonly #root: string;
  readonly #database: Database.Database;
  readonly #holder: number;

  private constructor(root: string, database: Database.Database, holder: number) {
    this.#root = root;
    this.#database = database;
    this.#holder = holder;
  }

  /**
   * Opens or creates `<root>/layers`.
   * @param holder process id under which layers are held: of this process, or of what outlives it
   * @param log is told when the record was damaged and had to be rebuilt
   * @throws SiphonError `unsupported` where a newer program wrote it; the system error
   */
  static open(root: string, holder = process.pid, log: Logger = silentLogger): LayerStore {
    const directory = join(root, 'layers');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return new LayerStore(directory, openLayerDatabase(directory, log), holder);
  }

  /**
   * The layer's record, made where it is new; the newest origin wins, for it is likelier to answer.
   * Its folder is there then.
   * @param kept whether the layer stays though nobody uses it; once so, always so
   */
  register(layer: Omit<LayerRecord, 'number'>, kept: boolean): LayerRecord {
    this.#database
      .prepare(
        `INSERT INTO layer (blob_digest, identity, blob_size, media_type, origin, kept)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (blob_digest) DO UPDATE SET origin = excluded.origin, kept = max(kept, excluded.kept)`,
      )
      .run(
        layer.blobDigest,
        layer.identity,
        layer.blobSize,
        layer.mediaType,
        JSON.stringify(layer.origin),
        kept ? 1 : 0,
      );
    const row = this.#database
      .prepare<[string], LayerRow>('SELECT * FROM layer WHERE blob_digest = ?')
      .get(layer.blobDigest);
    if (row === undefined) throw lost(layer.blobDigest);
    describeLayer(this.directory(row.number), row);
    return recordOf(row);
  }

  /** The record of the layer with this name, where there is one. */
  find(blobDigest: Digest): LayerRecord | undefined {
    const row = this.#database
      .prepare<[string], LayerRow>('SELECT * FROM layer WHERE blob_digest = ?')
      .get(blobDigest);
    return row === undefined ? undefined : recordOf(row);
  }

  /** Whether the index of the layer with this name is here. */
  readonly hasIndex = (blobDigest: Digest): boolean => {
    const record = this.find(blobDigest);
    return record !== undefined && existsSync(this.indexPath(record.number));
  };

  /** Where the layer with this name can be had, where one is known. */
  readonly originOf = (blobDigest: Digest): LayerOrigin | undefined =>
    this.find(blobDigest)?.origin;

  /** @throws SiphonError `not-found` */
  get(number: number): LayerRecord {
    const row = this.#database
      .prepare<[number], LayerRow>('SELECT * FROM layer WHERE number = ?')
      .get(number);
    if (row === undefined) throw lost(String(number));
    return recordOf(row);
  }

  /** `<root>/layers`. */
  get folder(): string {
    return this.#root;
  }

  /** `<root>/layers/<number>`, made where it is missing. */
  directory(number: number): string {
    const path = join(this.#root, String(number));
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  }

  indexPath(number: number): string {
    return join(this.#root, String(number), 'index.db');
  }

  /**
   * Resolves when a power cut takes neither the layer's record nor its index.
   * @throws the system error
   */
  async settle(number: number): Promise<void> {
    const files = [...filesOfRow(this.#root, number), this.indexPath(number)];
    await syncFiles([...files, join(this.#root, String(number)), this.#root]);
  }

  /** Says that the holder uses the layer, until {@link drop} or its end. */
  hold(number: number): void {
    this.#database
      .prepare('INSERT OR IGNORE INTO holder (layer, pid) VALUES (?, ?)')
      .run(number, this.#holder);
  }

  /** The layers that the holder uses, by this process's or an earlier one's word. */
  held(): LayerRecord[] {
    return this.#database
      .prepare<[number], LayerRow>(
        'SELECT layer.* FROM layer JOIN holder ON holder.layer = layer.number WHERE pid = ?',
      )
      .all(this.#holder)
      .map(recordOf);
  }

  /** The holder uses nothing: what an earlier process of the same id left is void. */
  dropAll(): void {
    this.#database.prepare('DELETE FROM holder WHERE pid = ?').run(this.#holder);
  }

  /** The holder uses the layer no more; its files stay for the next one. */
  drop(number: number): void {
    this.#database
      .prepare('DELETE FROM holder WHERE layer = ? AND pid = ?')
      .run(number, this.#holder);
  }

  /** Numbers of the layers that are not to be kept: each is here for a snapshot, or for nothing. */
  unkept(): number[] {
    return this.#database
      .prepare<[], { number: number }>('SELECT number FROM layer WHERE kept = 0')
      .all()
      .map((row) => row.number);
  }

  /** All layers, held, kept or neither. */
  list(): LayerRecord[] {
    return this.#database
      .prepare<[], LayerRow>('SELECT * FROM layer ORDER BY number')
      .all()
      .map(recordOf);
  }

  /** Nobody asks for the layer any more. @returns whether somebody did */
  unkeep(number: number): boolean {
    const [row] = this.#database
      .prepare<[number], LayerRow>(
        'UPDATE layer SET kept = 0 WHERE number = ? AND kept = 1 RETURNING *',
      )
      .all(number);
    if (row !== undefined) describeLayer(this.directory(number), row);
    return row !== undefined;
  }

  /**
   * Removes a layer and its files, unless it is kept or a living process holds it. A crash leaves the
   * layer without files or files without a layer; {@link removeOrphans} finds those.
   * @param alongside removes what else is the layer's; from then on nobody else finds it
   * @returns whether it was removed
   * @throws SiphonError `not-found`, what `alongside` throws
   */
  async remove(number: number, alongside: (layer: LayerRecord) => void): Promise<boolean> {
    const folder = join(this.#root, String(number));
    const removal = this.#database.transaction(() => {
      const layer = this.get(number);
      if (this.#isKept(number) || this.#holders(number).length > 0) return false;
      alongside(layer);
      moveAside(folder);
      this.#database.prepare('DELETE FROM layer WHERE number = ?').run(number);
      return true;
    });
    try {
      return removal.immediate();
    } finally {
      await rm(`${folder}${GONE}`, { recursive: true, force: true });
    }
  }

  /**
   * Does `action` while nobody begins to hold the layer, unless a living process holds it.
   * @returns whether it was done. @throws what it throws
   */
  unlessHeld(number: number, action: () => void): boolean {
    const attempt = this.#database.transaction(() => {
      const isFree = this.#holders(number).length === 0;
      if (isFree) action();
      return isFree;
    });
    return attempt.immediate();
  }

  /**
   * Removes folders that belong to no layer, what began to go, and what killed processes were writing.
   * @returns the folders' names
   */
  async removeOrphans(): Promise<string[]> {
    // A layer is recorded before its folder is made, so what is listed first and unknown then is nobody's.
    const entries = await readdir(this.#root, { withFileTypes: true });
    const known = this.#database.prepare<[], { number: number }>('SELECT number FROM layer').all();
    const names = new Set(known.map(({ number }) => String(number)));
    const orphans = entries.filter((entry) => entry.isDirectory() && !names.has(entry.name));
    for (const { name } of orphans) {
      await rm(join(this.#root, name), { recursive: true, force: true });
    }
    // A layer may be removed meanwhile, and one without a folder has nothing.
    for (const name of names) await removeAbandoned(join(this.#root, name));
    return orphans.map(({ name }) => name);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  #isKept(number: number): boolean {
    const row = this.#database
      .prepare<[number], { kept: number }>('SELECT kept FROM layer WHERE number = ?')
      .get(number);
    return row?.kept === 1;
  }

  #holders(number: number): number[] {
    return this.#database
      .prepare<[number], { pid: number }>('SELECT pid FROM holder WHERE layer = ?')
      .all(number)
      .map((row) => row.pid)
      .filter(processIsAlive);
  }
}

/** A folder whose layer is about to be forgotten; it comes back under its own name by nobody's doing. */
function moveAside(folder: string): void {
  try {
    renameSync(folder, `${folder}${GONE}`);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

function recordOf(row: LayerRow): LayerRecord {
  return {
    number: row.number,
    blobDigest: row.blob_digest,
    identity: row.identity,
    blobSize: row.blob_size,
    mediaType: row.media_type,
    origin: parseLayerOrigin(row.origin),
  };
}

function lost(name: string): SiphonError {
  return new SiphonError('not-found', `Cannot find layer "${name}": expected a layer of this root`);
}

/**
 * What an index must say of the layer it is for.
 * @param diffId where an image's word for it is to be held against the index
 */
export function indexExpectation(
  layer: Pick<LayerRecord, 'blobDigest' | 'blobSize' | 'identity'>,
  diffId?: DiffId,
): ExpectedLayer {
  return {
    blobSize: layer.blobSize,
    ...(layer.identity === 'location' ? {} : { blobDigest: layer.blobDigest }),
    ...(diffId === undefined ? {} : { diffId }),
  };
}
