/** A snapshot as the metadata knows it. */

export type SnapshotKind = 'view' | 'active' | 'committed';

export type Labels = Readonly<Record<string, string>>;

export interface Snapshot {
  /** Names the snapshot's folder; stays the same when the snapshot is committed; never used twice. */
  readonly id: number;
  /** The key while active or a view, the name once committed. Unique among all snapshots. */
  readonly name: string;
  /** Name of the committed snapshot below; empty at the bottom. */
  readonly parent: string;
  readonly kind: SnapshotKind;
  /** Nanoseconds since the Unix epoch, as `updatedAt`. */
  readonly createdAt: bigint;
  readonly updatedAt: bigint;
  readonly labels: Labels;
  /** Number of the lazy layer that is this snapshot's content; absent where a folder is. */
  readonly lazyNumber: number | undefined;
}

/** The snapshot's fields by the names that containerd's filters know. */
export function snapshotField(snapshot: Snapshot, name: string): string | undefined {
  switch (name) {
    case 'name':
      return snapshot.name;
    case 'parent':
      return snapshot.parent;
    case 'kind':
      return snapshot.kind;
    default:
      return undefined;
  }
}
