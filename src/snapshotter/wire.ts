/** Snapshots and times between the metadata's form and containerd's messages. */

import { type Info, Kind } from '../generated/containerd/services/snapshots/v1/snapshots.js';
import type { Timestamp } from '../generated/google/protobuf/timestamp.js';
import type { Snapshot, SnapshotKind } from './snapshot.js';

const NANOSECONDS = 1_000_000_000n;

const kinds: Readonly<Record<SnapshotKind, Kind>> = {
  view: Kind.VIEW,
  active: Kind.ACTIVE,
  committed: Kind.COMMITTED,
};

export function infoOf(snapshot: Snapshot): Info {
  return {
    name: snapshot.name,
    parent: snapshot.parent,
    kind: kinds[snapshot.kind],
    createdAt: timestampOf(snapshot.createdAt),
    updatedAt: timestampOf(snapshot.updatedAt),
    labels: { ...snapshot.labels },
  };
}

/** @param time nanoseconds since the Unix epoch, not negative */
export function timestampOf(time: bigint): Timestamp {
  return { seconds: time / NANOSECONDS, nanos: Number(time % NANOSECONDS) };
}
