/**
 * What a root knows beside its blobs, in one SQLite file that all processes there share: the images by
 * name, who is at work (leases), and labels of blobs.
 *
 * A lease says that its process is at work on an image, and ends with the process at the latest. Until it
 * is settled, everything that was stored since it began is in use; what it names is in use while it lasts.
 * Whoever removes blobs does so under {@link ImageDatabase.exclusively}, when no lease can begin.
 */

import type Database from 'better-sqlite3';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Digest, parseDigest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { isRunning, processIdentity } from '../common/process.js';
import { migrate } from '../common/migrate.js';
import { Sqlite } from '../common/sqlite.js';
import type { Descriptor } from '../remote/descriptor.js';
import { imageSchema } from './image-schema.js';

/** What a name stands for. */
export interface ImageRecord {
  name: string;
  /** Of the manifest, or of an index that leads to it. */
  target: Descriptor;
  /** Where what is not here can be had, as a source of the command line; absent for what was imported. */
  origin?: string;
  /** How the origin is spoken to; absent for what is usual there. */
  plainHttp?: boolean;
  /** Whether the name was given here, by import or tag, so that nobody else need know it. */
  isGiven: boolean;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
}

/** Who is at work on what. */
export interface LiveLease {
  pid: number;
  /** Milliseconds since 1970. */
  created: number;
  settled: boolean;
  /** Manifests, indexes and blobs; with the former, all that they lead to. */
  resources: Descriptor[];
}

export type Labels = Record<string, string>;

export interface Lease {
  /** Names what is in use from now on. */
  add(resources: readonly Descriptor[]): void;
  /** What was not named is not needed any more. */
  settle(): void;
  end(): void;
}

interface ImageRow {
  name: string;
  media_type: string;
  digest: string;
  size: number;
  origin: string | null;
  plain_http: number | null;
  given: number;
  created: number;
  updated: number;
}

/** Milliseconds to wait for another process's turn, which may be a collection of garbage. */
const BUSY_TIMEOUT = 60_000;

export class ImageDatabase implements Disposable {
  readonly #database: Database.Database;

  private constructor(database: Database.Database) {
    this.#database = database;
  }

  /**
   * Opens or creates `<root>/images.db`.
   * @throws SiphonError `unsupported` where a newer siphon wrote it; the system error
   */
  static open(root: string): ImageDatabase {
    mkdirSync(root, { recursive: true, mode: 0o711 });
    const database = new Sqlite(join(root, 'images.db'));
    try {
      database.pragma(`busy_timeout = ${BUSY_TIMEOUT}`);
      database.pragma('journal_mode = WAL');
      database.pragma('synchronous = FULL');
      database.pragma('foreign_keys = ON');
      migrate(database, imageSchema);
      return new ImageDatabase(database);
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Records what `name` stands for from now on. */
  put(image: Omit<ImageRecord, 'created' | 'updated'>): void {
    const { name, target, origin = null, plainHttp, isGiven } = image;
    this.#database
      .prepare(
        `INSERT INTO image (name, media_type, digest, size, origin, plain_http, given, created, updated)
         VALUES (@name, @mediaType, @digest, @size, @origin, @plainHttp, @given, @now, @now)
         ON CONFLICT (name) DO UPDATE SET media_type = @mediaType, digest = @digest, size = @size,
           origin = @origin, plain_http = @plainHttp, given = @given, updated = @now`,
      )
      .run({
        name,
        mediaType: target.mediaType,
        digest: target.digest,
        size: target.size,
        origin,
        plainHttp: plainHttp === undefined ? null : Number(plainHttp),
        given: Number(isGiven),
        now: Date.now(),
      });
  }

  find(name: string): ImageRecord | undefined {
    const row = this.#database
      .prepare<[string], ImageRow>('SELECT * FROM image WHERE name = ?')
      .get(name);
    return row && recordOf(row);
  }

  /** @throws SiphonError `not-found` */
  get(name: string): ImageRecord {
    const found = this.find(name);
    if (found !== undefined) return found;
    throw new SiphonError('not-found', `Cannot find image "${name}": no image here has that name`, {
      hint: 'siphon images lists what there is.',
    });
  }

  /** By name. */
  list(): ImageRecord[] {
    return this.#database
      .prepare<[], ImageRow>('SELECT * FROM image ORDER BY name')
      .all()
      .map(recordOf);
  }

  /** Forgets the name; its content stays until it is collected. @returns whether there was one */
  remove(name: string): boolean {
    return this.#database.prepare('DELETE FROM image WHERE name = ?').run(name).changes > 0;
  }

  /** A new lease of this process. */
  async lease(): Promise<Lease> {
    const { pid, startTime } = await processIdentity(process.pid);
    const { lastInsertRowid: id } = this.#database
      .prepare('INSERT INTO lease (pid, start_time, created) VALUES (?, ?, ?)')
      .run(pid, startTime, Date.now());
    return {
      add: (resources) => this.#addResources(id, resources),
      settle: () =>
        void this.#database.prepare('UPDATE lease SET settled = 1 WHERE id = ?').run(id),
      end: () => void this.#database.prepare('DELETE FROM lease WHERE id = ?').run(id),
    };
  }

  /** The leases of living processes; those of others are forgotten. */
  async liveLeases(): Promise<LiveLease[]> {
    const rows = this.#database
      .prepare<
        [],
        { id: number; pid: number; start_time: string; created: number; settled: 0 | 1 }
      >('SELECT * FROM lease')
      .all();
    const live: LiveLease[] = [];
    for (const { id, pid, start_time: startTime, created, settled } of rows) {
      if (await isRunning({ pid, startTime })) {
        live.push({ pid, created, settled: settled === 1, resources: this.#resourcesOf(id) });
      } else {
        this.#database.prepare('DELETE FROM lease WHERE id = ?').run(id);
      }
    }
    return live;
  }

  /**
   * Does `work` while no other process can begin a lease or change a name; they wait. Only for work of
   * a moment, and without the network.
   */
  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const result = await work();
      this.#database.exec('COMMIT');
      return result;
    } catch (error) {
      this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  /** Labels of a blob; one with an empty value is taken away. */
  label(digest: Digest, labels: Labels): void {
    const set = this.#database.prepare('INSERT OR REPLACE INTO blob_label VALUES (?, ?, ?)');
    const drop = this.#database.prepare('DELETE FROM blob_label WHERE digest = ? AND key = ?');
    this.#database.transaction(() => {
      for (const [key, value] of Object.entries(labels)) {
        if (value === '') drop.run(digest, key);
        else set.run(digest, key, value);
      }
    })();
  }

  labelsOf(digest: Digest): Labels {
    const rows = this.#database
      .prepare<[string], { key: string; value: string }>(
        'SELECT key, value FROM blob_label WHERE digest = ? ORDER BY key',
      )
      .all(digest);
    return Object.fromEntries(rows.map(({ key, value }) => [key, value]));
  }

  /** Forgets the labels of a blob that is gone. */
  dropLabels(digest: Digest): void {
    this.#database.prepare('DELETE FROM blob_label WHERE digest = ?').run(digest);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  #addResources(lease: number | bigint, resources: readonly Descriptor[]): void {
    const add = this.#database.prepare('INSERT OR IGNORE INTO lease_resource VALUES (?, ?, ?, ?)');
    this.#database.transaction(() => {
      for (const { digest, mediaType, size } of resources) add.run(lease, digest, mediaType, size);
    })();
  }

  #resourcesOf(lease: number): Descriptor[] {
    return this.#database
      .prepare<[number], Pick<ImageRow, 'media_type' | 'digest' | 'size'>>(
        'SELECT media_type, digest, size FROM lease_resource WHERE lease = ?',
      )
      .all(lease)
      .map(descriptorOf);
  }
}

function recordOf(row: ImageRow): ImageRecord {
  const { name, origin, plain_http: plainHttp, created, updated } = row;
  return {
    name,
    target: descriptorOf(row),
    ...(origin === null ? {} : { origin }),
    ...(plainHttp === null ? {} : { plainHttp: plainHttp === 1 }),
    isGiven: row.given === 1,
    created,
    updated,
  };
}

function descriptorOf(row: Pick<ImageRow, 'media_type' | 'digest' | 'size'>): Descriptor {
  return { mediaType: row.media_type, digest: parseDigest(row.digest), size: row.size };
}
