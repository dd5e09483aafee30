/**
 * Which process serves which mount point: one small file a mount, in `<root>/mounts`, so that another
 * command can find and end it. A record whose process is gone is stale and may be replaced.
 */

import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { writeFileAtomic } from '../common/atomic-file.js';
import { SiphonError } from '../common/errors.js';
import { field, fieldsOf } from '../common/own-json.js';
import { type ProcessIdentity, isRunning, processIdentity } from '../common/process.js';
import { tryLockFile } from '../ffi/libc.js';
import { endLayerHosts } from './end-layer-hosts.js';
import { clearLayerMounts } from './layer-mounts.js';

const lockInterval = 10; // ms

export interface MountRecord {
  directory: string;
  source: string;
  driver: 'kernel' | 'libfuse';
  server: ProcessIdentity;
  /** It has been mounted: where it is not any more, its server is about to see that and to end. */
  stood: boolean;
}

type Claim = Omit<MountRecord, 'server' | 'stood'>;

/** Folder that belongs to the mount on `directory` (an absolute, resolved path). */
export function mountHome(root: string, directory: string): string {
  const name = createHash('sha256').update(directory).digest('hex').slice(0, 12);
  return join(root, 'mounts', name);
}

/**
 * Says that `directory` is served by this process, unless somebody living does already. Of several that
 * try at once, one succeeds. @throws SiphonError `busy`
 */
export async function claimMountPoint(root: string, mounted: Claim): Promise<void> {
  await mkdir(join(root, 'mounts'), { recursive: true, mode: 0o700 });
  const lock = await open(join(root, 'mounts.lock'), 'a', 0o600);
  try {
    while (!tryLockFile(lock.fd)) await delay(lockInterval);
    const other = await readMountRecord(root, mounted.directory);
    if (other !== undefined && (await isRunning(other.server))) throw busy(mounted.directory);
    await writeRecord(root, mounted, { server: process.pid, stood: false });
  } finally {
    await lock.close();
  }
}

/** Says that what this process has claimed is mounted, and served by the process `server` from now on. */
export async function handMountOver(root: string, mounted: Claim, server: number): Promise<void> {
  await writeRecord(root, mounted, { server, stood: true });
}

async function writeRecord(
  root: string,
  mounted: Claim,
  { server, stood }: { server: number; stood: boolean },
): Promise<void> {
  const record: MountRecord = { ...mounted, server: await processIdentity(server), stood };
  await writeFileAtomic(recordPath(root, mounted.directory), JSON.stringify(record));
}

/** The refusal to mount where something is mounted. */
export function busy(directory: string): SiphonError {
  return new SiphonError(
    'busy',
    `Cannot mount on "${directory}": something is mounted there already, expected a free folder`,
  );
}

/** The record, stale or not; `undefined` where there is none that can be read. */
export async function readMountRecord(
  root: string,
  directory: string,
): Promise<MountRecord | undefined> {
  return recordOfHome(mountHome(root, directory));
}

/** As {@link readMountRecord}, by the folder that belongs to the mount. */
export async function recordOfHome(home: string): Promise<MountRecord | undefined> {
  try {
    return parseRecord(JSON.parse(await readFile(`${home}.json`, 'utf8')));
  } catch {
    return undefined;
  }
}

function parseRecord(value: unknown): MountRecord {
  const record = fieldsOf(value, 'a record of a mount');
  const server = fieldsOf(record['server'], 'who serves a mount');
  return {
    directory: field(record, 'directory', 'string'),
    source: field(record, 'source', 'string'),
    driver: field(record, 'driver', 'string') === 'kernel' ? 'kernel' : 'libfuse',
    server: {
      pid: field(server, 'pid', 'number'),
      startTime: field(server, 'startTime', 'string'),
    },
    stood: record['stood'] === true,
  };
}

export async function removeMountRecord(root: string, directory: string): Promise<void> {
  await rm(recordPath(root, directory), { force: true });
}

/** Takes away what a server that is gone has left in the mount's folder. */
export async function removeMountHome(root: string, directory: string): Promise<void> {
  const home = mountHome(root, directory);
  await endLayerHosts(home);
  await clearLayerMounts(home);
  await rm(home, { recursive: true, force: true });
}

function recordPath(root: string, directory: string): string {
  return `${mountHome(root, directory)}.json`;
}
