/**
 * Opens the metadata; where it is damaged or gone, keeps it aside and rebuilds it from what the
 * snapshots' folders say of themselves. What cannot be brought back is kept aside too, and each
 * loss is one line of the log: nothing that was somebody's data is removed here.
 */

import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { basename, join } from 'node:path';
import { errorCode, errorMessage } from '../common/errors.js';
import { keptAsideFolder } from '../common/kept-aside.js';
import type { Logger } from '../common/log.js';
import type { Descriptions } from './descriptions.js';
import { Metadata } from './metadata.js';
import type { Snapshot } from './snapshot.js';

export interface RecoveryOptions {
  /** siphon's root, which holds `metadata.db`. */
  root: string;
  /** Holds the snapshots' folders. */
  snapshots: string;
  descriptions: Descriptions;
  clock: () => bigint;
  log: Logger;
}

/** @throws SiphonError `busy`, `unsupported` as {@link Metadata.open} */
export function openMetadata(options: RecoveryOptions): Metadata {
  const { root, descriptions, clock } = options;
  const path = join(root, 'metadata.db');
  const changed = (snapshot: Snapshot): void => descriptions.write(snapshot);
  let damage = 'it is gone';
  try {
    const metadata = Metadata.open(path, clock, changed);
    if (metadata.hasHistory() || descriptions.readAll().snapshots.length === 0) return metadata;
    metadata.close();
  } catch (error) {
    if (errorCode(error) !== 'corrupt') throw error;
    damage = errorMessage(error);
  }
  const aside = keptAsideFolder(root);
  for (const file of [path, `${path}-wal`, `${path}-journal`]) moveInto(aside, file);
  const metadata = Metadata.open(path, clock, changed);
  rebuild(metadata, { ...options, aside, damage });
  return metadata;
}

function rebuild(
  metadata: Metadata,
  { snapshots, descriptions, log, aside, damage }: RecoveryOptions & Damage,
): void {
  const { snapshots: described, unreadable } = descriptions.readAll();
  const { kept, lost } = usable(described, (id) => existsSync(join(snapshots, String(id), 'fs')));
  metadata.restore(kept);
  log.error(
    { damage, aside, snapshots: kept.length },
    `the snapshot metadata was damaged; it is kept in "${aside}", and was rebuilt from the snapshots' folders`,
  );
  for (const [{ id, name }, why] of lost) {
    moveInto(join(aside, 'snapshots'), join(snapshots, String(id)));
    log.error({ snapshot: name, folder: id, aside }, `snapshot is lost: ${why}`);
  }
  for (const folder of unreadable) {
    moveInto(join(aside, 'snapshots'), join(snapshots, folder));
    log.error({ folder, aside }, 'snapshot is lost: its folder does not say what it is');
  }
}

interface Damage {
  aside: string;
  damage: string;
}

/** Those that can stand, and for each other one the reason. */
function usable(
  described: readonly Snapshot[],
  hasContent: (id: number) => boolean,
): { kept: Snapshot[]; lost: [Snapshot, string][] } {
  const lost: [Snapshot, string][] = [];
  const byName = new Map<string, Snapshot>();
  const drop = (snapshot: Snapshot, why: string): void => {
    lost.push([snapshot, why]);
    if (byName.get(snapshot.name) === snapshot) byName.delete(snapshot.name);
  };
  for (const snapshot of described) {
    const older = byName.get(snapshot.name);
    if (older !== undefined) drop(older, 'a later one has its name');
    byName.set(snapshot.name, snapshot);
    if (snapshot.lazyNumber === undefined && !hasContent(snapshot.id))
      drop(snapshot, 'its content is gone');
  }
  const orphan = ({ parent }: Snapshot): boolean =>
    parent !== '' && byName.get(parent)?.kind !== 'committed';
  // Whoever goes may have had children.
  for (let gone = [...byName.values()].filter(orphan); gone.length > 0;) {
    for (const snapshot of gone) drop(snapshot, `its parent "${snapshot.parent}" is gone`);
    gone = [...byName.values()].filter(orphan);
  }
  return { kept: [...byName.values()], lost };
}

function moveInto(folder: string, path: string): void {
  if (!existsSync(path)) return;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  renameSync(path, join(folder, basename(path)));
}
