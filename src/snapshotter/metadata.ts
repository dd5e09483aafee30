/**
 * What snapshots there are: the only place of the snapshotter that speaks SQL.
 *
 * Each method is one short transaction without other I/O and reaches the disk before it returns, so
 * that an answer given to containerd survives a power cut. The file stays locked while it is open:
 * a second snapshotter on the same root is refused. Rules that concern several snapshots (a parent
 * is committed, a name is free, what goes has no children) hold inside the transaction.
 */

import type Database from 'better-sqlite3';
import type { DiskUsage } from '../common/disk-usage.js';
import { migrate } from '../common/migrate.js';
import { Sqlite } from '../common/sqlite.js';
import { SiphonError, errorMessage, systemCode } from '../common/errors.js';
import { metadataSchema } from './metadata-schema.js';
import type { Labels, Snapshot, SnapshotKind } from './snapshot.js';

export interface NewSnapshot {
  /** From {@link Metadata.allocateId}. */
  id: number;
  name: string;
  /** Name of a committed snapshot; empty for none. */
  parent: string;
  kind: SnapshotKind;
  labels: Labels;
  lazyNumber?: number;
}

export interface CommitChange {
  key: string;
  name: string;
  labels: Labels;
  /** The parent to commit onto, where the snapshot was prepared without one; empty for no change. */
  parent: string;
}

export interface Removal {
  snapshot: Snapshot;
  /** The lazy layer that no snapshot uses any more. */
  released: number | undefined;
}

/** Rows as SQLite gives them with safe integers on: every number is a bigint. */
interface Row {
  id: bigint;
  name: string;
  parent_id: bigint | null;
  parent: string | null;
  kind: SnapshotKind;
  created_at: bigint;
  updated_at: bigint;
  labels: string;
  lazy_number: bigint | null;
}

const selectSnapshot = `
  SELECT s.id, s.name, s.parent_id, p.name AS parent, s.kind, s.created_at, s.updated_at, s.labels, s.lazy_number
  FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent_id`;

export class Metadata implements Disposable {
  readonly #database: Database.Database;
  readonly #statements: Statements;
  readonly #clock: () => bigint;
  readonly #changed: (snapshot: Snapshot) => void;
  #lastId: number;

  /**
   * Opens or makes the metadata file.
   * @param clock nanoseconds since the Unix epoch
   * @param changed is told of each snapshot that is new or has changed, once that is recorded
   * @throws SiphonError `busy` where another process has it open, `corrupt`, `unsupported`
   */
  static open(
    path: string,
    clock: () => bigint,
    changed: (snapshot: Snapshot) => void = () => undefined,
  ): Metadata {
    const database = openDatabase(path);
    try {
      requireSound(database);
      migrate(database, metadataSchema);
      return new Metadata(database, clock, changed);
    } catch (error) {
      database.close();
      throw explainOpening(path, error);
    }
  }

  private constructor(
    database: Database.Database,
    clock: () => bigint,
    changed: (snapshot: Snapshot) => void,
  ) {
    this.#database = database;
    this.#clock = clock;
    this.#changed = changed;
    this.#statements = prepareStatements(database);
    this.#lastId = this.#statements.lastId.get()?.seq ?? 0;
  }

  /** Whether there ever was a snapshot. */
  hasHistory(): boolean {
    return this.#lastId > 0;
  }

  /** Records snapshots as they were, ids and times included; each parent must be among them. */
  restore(snapshots: readonly Snapshot[]): void {
    this.#write(() => {
      for (const { id, name, kind, labels, createdAt: now, updatedAt, lazyNumber } of snapshots) {
        const row = { id, name, parentId: null, kind, labels: JSON.stringify(labels), now };
        this.#statements.insert.run({ ...row, lazyNumber: lazyNumber ?? null });
        this.#statements.update.run({ id, labels: row.labels, now: updatedAt });
      }
      for (const { id, parent } of snapshots)
        this.#statements.setParent.run({ id, parentId: this.#parentId(parent) });
    });
    this.#lastId = this.#statements.lastId.get()?.seq ?? 0;
  }

  /** A number for a new snapshot, for a folder that is made before the snapshot is recorded. */
  allocateId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  /** @throws SiphonError `not-found` */
  get(name: string): Snapshot {
    return snapshotOf(this.#row(name));
  }

  find(name: string): Snapshot | undefined {
    const row = this.#statements.get.get(name);
    return row === undefined ? undefined : snapshotOf(row);
  }

  /** The snapshot and all below it, from itself down to the bottom. @throws SiphonError `not-found` */
  chain(name: string): Snapshot[] {
    const chain = this.#statements.chain.all(name).map(snapshotOf);
    if (chain.length === 0) throw missing(name);
    return chain;
  }

  /** The committed snapshot `name` and all below it. @throws SiphonError `not-found`, `invalid` */
  parentChain(name: string): Snapshot[] {
    if (name === '') return [];
    this.#parentId(name);
    return this.chain(name);
  }

  list(): Snapshot[] {
    return this.#statements.list.all().map(snapshotOf);
  }

  /** @throws SiphonError `already-exists`; `not-found` or `invalid` of the parent */
  create(snapshot: NewSnapshot): Snapshot {
    return this.#change(() => {
      const parentId = this.#parentId(snapshot.parent);
      this.#refuseTaken(snapshot.name);
      const { id, name, kind } = snapshot;
      const labels = JSON.stringify(snapshot.labels);
      const now = this.#clock();
      const lazyNumber = snapshot.lazyNumber ?? null;
      this.#statements.insert.run({ id, name, parentId, kind, labels, now, lazyNumber });
      return this.get(name);
    });
  }

  /** @throws SiphonError `not-found`, `already-exists`, `failed-precondition`; of a new parent also `invalid` */
  commit(change: CommitChange): Snapshot {
    return this.#change(() => {
      const row = this.#row(change.key);
      if (row.kind !== 'active') {
        const message = `Cannot commit snapshot "${change.key}": it is ${describe(row.kind)}, expected an active snapshot`;
        throw new SiphonError('failed-precondition', message);
      }
      this.#refuseTaken(change.name);
      const parentId = this.#commitParent(row, change);
      const labels = JSON.stringify(change.labels);
      this.#statements.commit.run({
        id: row.id,
        name: change.name,
        parentId,
        labels,
        now: this.#clock(),
      });
      return this.get(change.name);
    });
  }

  /** Replaces the labels by what `change` makes of them. @throws SiphonError `not-found` */
  update(name: string, change: (labels: Labels) => Labels): Snapshot {
    return this.#change(() => {
      const { id, labels } = this.get(name);
      this.#statements.update.run({
        id,
        labels: JSON.stringify(change(labels)),
        now: this.#clock(),
      });
      return this.get(name);
    });
  }

  /** @throws SiphonError `not-found`, `failed-precondition` where it has children */
  remove(name: string): Removal {
    return this.#write(() => {
      const snapshot = this.get(name);
      const child = this.#statements.child.get(snapshot.id);
      if (child !== undefined) {
        const message = `Cannot remove snapshot "${name}": "${child.name}" stands on it, expected no children`;
        throw new SiphonError('failed-precondition', message);
      }
      this.#statements.remove.run(snapshot.id);
      return { snapshot, released: this.#unusedLayer(snapshot.lazyNumber) };
    });
  }

  /**
   * From now on the snapshot's content is its folder instead of a lazy layer, which is released with its
   * last user. @throws SiphonError `not-found`
   */
  becomeFolder(name: string): Snapshot {
    return this.#change(() => {
      const { id, lazyNumber } = this.get(name);
      this.#statements.becomeFolder.run(id);
      this.#unusedLayer(lazyNumber);
      return this.get(name);
    });
  }

  /** Ids of all snapshots. */
  ids(): Set<number> {
    return new Set(this.#statements.ids.all().map(({ id }) => id));
  }

  /** Numbers of all lazy layers in use. */
  lazyNumbers(): number[] {
    return this.#statements.lazyNumbers.all().map(({ lazy_number }) => lazy_number);
  }

  /** Whether a snapshot has this lazy layer as its content. */
  usesLayer(number: number): boolean {
    return this.#statements.layerUser.get(number) !== undefined;
  }

  /** Lazy layers that no snapshot uses and whose release has not been confirmed. */
  pendingReleases(): number[] {
    return this.#statements.pendingReleases.all().map(({ lazy_number }) => lazy_number);
  }

  /** Notes that a lazy layer is to be released, also by a later process. */
  requestRelease(number: number): void {
    this.#statements.requestRelease.run(number);
  }

  confirmRelease(number: number): void {
    this.#statements.confirmRelease.run(number);
  }

  /** The disk usage noted for a committed snapshot. */
  usage(id: number): DiskUsage | undefined {
    const row = this.#statements.usage.get(id);
    const { size = null, inodes = null } = row ?? {};
    return size === null || inodes === null ? undefined : { size, inodes };
  }

  noteUsage(id: number, usage: DiskUsage): void {
    this.#statements.noteUsage.run({ id, ...usage });
  }

  close(): void {
    this.#database.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #change(change: () => Snapshot): Snapshot {
    const snapshot = this.#write(change);
    this.#changed(snapshot);
    return snapshot;
  }

  #write<T>(change: () => T): T {
    return this.#database.transaction(change).immediate();
  }

  #row(name: string): Row {
    const row = this.#statements.get.get(name);
    if (row === undefined) throw missing(name);
    return row;
  }

  #parentId(parent: string): bigint | null {
    if (parent === '') return null;
    const { id, kind } = this.#row(parent);
    if (kind === 'committed') return id;
    throw new SiphonError(
      'invalid',
      `Cannot stand on snapshot "${parent}": it is ${describe(kind)}, expected a committed snapshot`,
    );
  }

  #commitParent(row: Row, { key, parent }: CommitChange): bigint | null {
    if (parent === '' || parent === row.parent) return row.parent_id;
    if (row.parent_id === null) return this.#parentId(parent);
    throw new SiphonError(
      'invalid',
      `Cannot commit snapshot "${key}" onto "${parent}": it was prepared on "${row.parent ?? ''}", expected that parent`,
    );
  }

  #refuseTaken(name: string): void {
    if (this.#statements.get.get(name) === undefined) return;
    throw new SiphonError('already-exists', `snapshot "${name}": already exists`);
  }

  #unusedLayer(number: number | undefined): number | undefined {
    if (number === undefined || this.usesLayer(number)) return undefined;
    this.requestRelease(number);
    return number;
  }
}

type Statements = ReturnType<typeof prepareStatements>;

function prepareStatements(database: Database.Database) {
  return {
    lastId: database.prepare<[], { seq: number }>(
      `SELECT seq FROM sqlite_sequence WHERE name = 'snapshots'`,
    ),
    get: database.prepare<[string], Row>(`${selectSnapshot} WHERE s.name = ?`).safeIntegers(),
    list: database.prepare<[], Row>(`${selectSnapshot} ORDER BY s.id`).safeIntegers(),
    chain: database
      .prepare<[string], Row>(
        `WITH RECURSIVE chain (id, depth) AS (
           SELECT id, 0 FROM snapshots WHERE name = ?
           UNION ALL
           SELECT s.parent_id, depth + 1 FROM chain JOIN snapshots s ON s.id = chain.id WHERE s.parent_id IS NOT NULL
         )
         SELECT q.* FROM chain JOIN (${selectSnapshot}) q ON q.id = chain.id ORDER BY chain.depth`,
      )
      .safeIntegers(),
    insert: database.prepare<[object]>(
      `INSERT INTO snapshots (id, name, parent_id, kind, created_at, updated_at, labels, lazy_number)
       VALUES (@id, @name, @parentId, @kind, @now, @now, @labels, @lazyNumber)`,
    ),
    commit: database.prepare<[object]>(
      `UPDATE snapshots SET name = @name, parent_id = @parentId, kind = 'committed', labels = @labels,
         created_at = @now, updated_at = @now WHERE id = @id`,
    ),
    update: database.prepare<[object]>(
      `UPDATE snapshots SET labels = @labels, updated_at = @now WHERE id = @id`,
    ),
    setParent: database.prepare<[object]>(
      `UPDATE snapshots SET parent_id = @parentId WHERE id = @id`,
    ),
    remove: database.prepare<[number]>(`DELETE FROM snapshots WHERE id = ?`),
    becomeFolder: database.prepare<[number]>(
      `UPDATE snapshots SET lazy_number = NULL WHERE id = ?`,
    ),
    child: database.prepare<[number], { name: string }>(
      `SELECT name FROM snapshots WHERE parent_id = ? LIMIT 1`,
    ),
    ids: database.prepare<[], { id: number }>(`SELECT id FROM snapshots`),
    lazyNumbers: database.prepare<[], { lazy_number: number }>(
      `SELECT DISTINCT lazy_number FROM snapshots WHERE lazy_number IS NOT NULL ORDER BY lazy_number`,
    ),
    layerUser: database.prepare<[number]>(`SELECT 1 FROM snapshots WHERE lazy_number = ? LIMIT 1`),
    pendingReleases: database.prepare<[], { lazy_number: number }>(
      `SELECT lazy_number FROM releases`,
    ),
    requestRelease: database.prepare<[number]>(
      `INSERT OR IGNORE INTO releases (lazy_number) VALUES (?)`,
    ),
    confirmRelease: database.prepare<[number]>(`DELETE FROM releases WHERE lazy_number = ?`),
    usage: database.prepare<[number], { size: number | null; inodes: number | null }>(
      `SELECT size, inodes FROM snapshots WHERE id = ?`,
    ),
    noteUsage: database.prepare<[object]>(
      `UPDATE snapshots SET size = @size, inodes = @inodes WHERE id = @id AND kind = 'committed'`,
    ),
  };
}

function openDatabase(path: string): Database.Database {
  let database: Database.Database | undefined;
  try {
    database = new Sqlite(path, { timeout: 0 });
    // Before WAL, so that the lock holds from the first access on and no shared memory file is made.
    database.pragma('locking_mode = EXCLUSIVE');
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    return database;
  } catch (error) {
    database?.close();
    throw explainOpening(path, error);
  }
}

/** @throws SiphonError `corrupt` */
function requireSound(database: Database.Database): void {
  const finding: unknown = database.pragma('quick_check(1)', { simple: true });
  if (finding === 'ok') return;
  const message = `Cannot use snapshot metadata "${database.name}": ${String(finding)}, expected a sound database`;
  throw new SiphonError('corrupt', message);
}

function explainOpening(path: string, error: unknown): unknown {
  const code = systemCode(error) ?? '';
  if (code.startsWith('SQLITE_BUSY')) {
    const message = `Cannot open snapshot metadata "${path}": another process has it open, expected to be the only one`;
    return new SiphonError('busy', message, { cause: error });
  }
  // SQLITE_ERROR is what statements meet that do not fit the tables.
  if (/^SQLITE_(NOTADB|CORRUPT|ERROR)/.test(code)) {
    const message = `Cannot open snapshot metadata "${path}": ${errorMessage(error)}, expected siphon's database`;
    return new SiphonError('corrupt', message, { cause: error });
  }
  return error;
}

function snapshotOf(row: Row): Snapshot {
  return {
    id: Number(row.id),
    name: row.name,
    parent: row.parent ?? '',
    kind: row.kind,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    // Written by this module from a map of strings.
    labels: JSON.parse(row.labels) as Labels,
    lazyNumber: row.lazy_number === null ? undefined : Number(row.lazy_number),
  };
}

function missing(name: string): SiphonError {
  return new SiphonError('not-found', `snapshot "${name}": not found`);
}

function describe(kind: SnapshotKind): string {
  return kind === 'committed' ? 'committed' : kind === 'view' ? 'a view' : 'active';
}
