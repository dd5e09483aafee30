/** What the file system of siphon's root has to be able to do, tried in a folder that goes again. */

import { closeSync, constants, openSync } from 'node:fs';
import { mkdir, mkdtemp, open, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorMessage, systemCode } from '../../common/errors.js';
import { setXattr } from '../../ffi/at-calls.js';
import { MNT, mount, umount } from '../../ffi/libc.js';
import type { Finding } from './finding.js';

/** Below this many bytes an image of some size does not fit. */
const LITTLE_SPACE = 2 * 1024 ** 3;
const HOLE = 1024 * 1024;

export async function examineRoot(root: string): Promise<Finding[]> {
  const nearest = await nearestFolder(root);
  const space = await examineSpace(nearest);
  let folder: string;
  try {
    folder = await mkdtemp(join(nearest, '.siphon-doctor-'));
  } catch (error) {
    const advice = 'Run siphon doctor as root, or name another folder with --root.';
    return [space, { check: 'root folder', result: 'fail', detail: errorMessage(error), advice }];
  }
  try {
    const writable: Finding = { check: 'root folder', result: 'ok', detail: `${root} is writable` };
    return [
      space,
      writable,
      await examineOverlay(folder),
      examineXattrs(folder),
      await examineHoles(folder),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The folder itself, or what it would be made in. */
async function nearestFolder(path: string): Promise<string> {
  const found = await stat(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  return found === undefined ? nearestFolder(dirname(path)) : path;
}

async function examineSpace(path: string): Promise<Finding> {
  const check = 'free space';
  const { bavail, bsize } = await statfs(path);
  const free = bavail * bsize;
  const detail = `${(free / 1024 ** 3).toFixed(1)} GiB at ${path}`;
  if (free >= LITTLE_SPACE) return { check, result: 'ok', detail };
  return { check, result: 'warn', detail, advice: 'Make room, or move the root folder.' };
}

/** A mount as a container's: a file system may lack what the upper folder of one needs. */
async function examineOverlay(folder: string): Promise<Finding> {
  const check = 'overlay on root';
  for (const name of ['lower', 'upper', 'work', 'merged']) await mkdir(join(folder, name));
  const merged = join(folder, 'merged');
  const [lower, upper, work] = ['lower', 'upper', 'work'].map((name) => join(folder, name));
  try {
    const data = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    mount({ source: 'overlay', target: merged, type: 'overlay', data });
  } catch (error) {
    const advice = 'Run as root, with the root folder on ext4, xfs (ftype=1) or btrfs.';
    return { check, result: 'fail', detail: errorMessage(error), advice };
  }
  umount(merged, MNT.DETACH);
  return { check, result: 'ok', detail: 'can be mounted' };
}

function examineXattrs(folder: string): Finding {
  const check = 'extended attributes';
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    setXattr(fd, 'trusted.siphon.doctor', Buffer.from('y'));
    return { check, result: 'ok', detail: 'trusted.* can be set' };
  } catch (error) {
    const advice = 'Unpacked layers need them: run as root, on ext4, xfs or btrfs.';
    return { check, result: 'fail', detail: errorMessage(error), advice };
  } finally {
    closeSync(fd);
  }
}

async function examineHoles(folder: string): Promise<Finding> {
  const check = 'sparse files';
  const file = await open(join(folder, 'hole'), 'wx');
  try {
    await file.truncate(HOLE);
    const { blocks } = await file.stat();
    if (blocks * 512 < HOLE) return { check, result: 'ok', detail: 'holes take no space' };
    const advice = 'The span cache is as large as the layers here; use ext4, xfs or btrfs.';
    return { check, result: 'warn', detail: 'holes take space', advice };
  } finally {
    await file.close();
  }
}
