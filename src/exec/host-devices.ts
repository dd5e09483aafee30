/** Devices of the host that a container gets: named ones, or all. */

import type { Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SiphonError, systemCode } from '../common/errors.js';
import type { Device } from './runtime-spec.js';

/** A device as the caller names it. */
export interface DeviceRequest {
  /** On the host. */
  source: string;
  /** In the container. */
  path: string;
  /** Letters of `rwm`: read, write, mknod. */
  access: string;
}

export interface GivenDevice {
  node: Device;
  access: string;
}

/** What a container has of its own. */
const OWN = new Set(['pts', 'shm', 'fd', 'mqueue', 'console', '.udev', '.lxc', '.lxd-mounts']);

/** @throws SiphonError `usage` where one is not there, or is no device */
export function findDevices(requests: readonly DeviceRequest[]): Promise<GivenDevice[]> {
  return Promise.all(
    requests.map(async ({ source, path, access }) => {
      const stats = await statIfThere(source);
      const node = stats && deviceNode(path, stats);
      if (node !== undefined) return { node, access };
      throw new SiphonError(
        'usage',
        `Cannot give device "${source}": ${stats === undefined ? 'there is none' : 'it is none'}, expected a device of this machine`,
      );
    }),
  );
}

/** Every device below /dev that is not a terminal or the like of this very host's session. */
export async function allDevices(folder = '/dev'): Promise<GivenDevice[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = await Promise.all(
    entries
      .filter(({ name }) => !OWN.has(name))
      .map(async (entry): Promise<GivenDevice[]> => {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) return allDevices(path);
        const stats = entry.isSymbolicLink() ? undefined : await statIfThere(path);
        const node = stats && deviceNode(path, stats);
        return node === undefined ? [] : [{ node, access: 'rwm' }];
      }),
  );
  return found.flat();
}

function deviceNode(path: string, stats: Stats): Device | undefined {
  const type = stats.isCharacterDevice() ? 'c' : stats.isBlockDevice() ? 'b' : undefined;
  if (type === undefined) return undefined;
  const { rdev, uid, gid, mode } = stats;
  // As glibc packs it: makedev(3).
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return { path, type, major, minor, fileMode: mode & 0o7777, uid, gid };
}

async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}
