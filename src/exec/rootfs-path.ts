/**
 * Paths inside a container's root filesystem, looked up from outside. Symbolic links are followed as
 * the container would: an absolute target starts at the root filesystem, and `..` stops there, so
 * that no image leads a look-up to a file of the host. Every call is asynchronous: the file system
 * may be served by this very process, which a synchronous call would stop from answering.
 *
 * The look-up goes component by component and is not safe against somebody who changes the tree
 * meanwhile; it is for a tree whose container has not started.
 */

import { constants, type Stats } from 'node:fs';
import { lstat, mkdir, open, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SiphonError, systemCode } from '../common/errors.js';

/** As the kernel's MAXSYMLINKS: more in one look-up is taken for a loop. */
const MAX_LINKS = 40;

export interface RootfsPath {
  /** On the host, free of symbolic links. */
  hostPath: string;
  /** As the container sees it, free of symbolic links and `..`. */
  path: string;
  /** Absent where nothing is there (yet). */
  stats: Stats | undefined;
}

/**
 * Looks `path` up inside `rootfs`, relative paths from its root. A missing component ends the
 * following of links: what comes after it is taken as written.
 * @throws SiphonError `invalid` on a loop of symbolic links
 */
export async function resolveInRootfs(rootfs: string, path: string): Promise<RootfsPath> {
  const pending = components(path);
  let done: string[] = [];
  let links = 0;
  for (let name = pending.shift(); name !== undefined; name = pending.shift()) {
    if (name === '..') {
      done = done.slice(0, -1);
      continue;
    }
    const target = join(rootfs, ...done, name);
    if ((await lstatIfThere(target))?.isSymbolicLink() !== true) {
      done.push(name);
      continue;
    }
    if (++links > MAX_LINKS) throw loop(path);
    const link = await readlink(target);
    if (link.startsWith('/')) done = [];
    pending.unshift(...components(link));
  }
  const hostPath = join(rootfs, ...done);
  // The root itself may be named by a link, as those of /proc are.
  const stats = done.length === 0 ? await stat(rootfs) : await lstatIfThere(hostPath);
  return { hostPath, path: `/${done.join('/')}`, stats };
}

/**
 * The contents of the regular file `path` inside `rootfs`, or `undefined` where there is none.
 * @throws SiphonError `invalid` where it is longer than `limit` bytes
 */
export async function readInRootfs(
  rootfs: string,
  path: string,
  limit: number,
): Promise<Buffer | undefined> {
  const found = await resolveInRootfs(rootfs, path);
  if (found.stats?.isFile() !== true) return undefined;
  const file = await open(found.hostPath, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    if (size > limit) {
      throw new SiphonError(
        'invalid',
        `Cannot read "${path}" of the image: it has ${size} bytes, expected at most ${limit}`,
      );
    }
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/**
 * Makes `path` a folder inside `rootfs`, with those above it, owned by root, mode 0755, where it is
 * missing.
 * @returns its path as the host sees it, without symbolic links
 * @throws SiphonError `invalid` where something else than a folder is in the way
 */
export async function ensureDirectoryInRootfs(rootfs: string, path: string): Promise<string> {
  const found = await resolveInRootfs(rootfs, path);
  if (found.stats?.isDirectory() === true) return found.hostPath;
  if (found.stats !== undefined) throw notAFolder(path);
  try {
    await mkdir(found.hostPath, { recursive: true, mode: 0o755 });
    return found.hostPath;
  } catch (error) {
    if (systemCode(error) === 'ENOTDIR' || systemCode(error) === 'EEXIST') throw notAFolder(path);
    throw error;
  }
}

async function lstatIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

function components(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

function loop(path: string): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot find "${path}" in the image: more than ${MAX_LINKS} symbolic links lead on from it`,
  );
}

function notAFolder(path: string): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot make folder "${path}" in the image: a file is in its way, expected a folder or nothing`,
  );
}
