/**
 * A unix socket's place in the file system. The server binds inside a folder that only its user can
 * enter and moves the socket to its address once the permissions are right, so that there is no moment
 * at which others could connect, and a stale socket is replaced in one step.
 */

import { closeSync } from 'node:fs';
import { chmod, lstat, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { SiphonError, systemCode } from '../common/errors.js';
import { listenAt } from '../ffi/unix-socket.js';

/** sun_path of unix(7), without the byte that ends it. */
const MAX_PATH = 107;
const MODE = 0o660;
/** Clients that may wait while one server follows another. */
export const backlog = 1024;

/** A socket that listens, as long as any process has it open. */
export interface Listener {
  address: string;
  fd: number;
  /** The inode of its place, by which it is known from another server's. */
  ino: number;
}

/**
 * Listens on `address`; who connects waits until somebody accepts.
 * @throws SiphonError `busy` where a live server listens there, `already-exists` where something other
 * than a socket is there, `usage` for a path too long
 */
export async function openListener(address: string): Promise<Listener> {
  checkLength(address, address);
  const folder = dirname(address);
  await mkdir(folder, { recursive: true, mode: 0o711 });
  await checkFree(address);
  const hidden = await mkdtemp(join(folder, '.'));
  try {
    const path = join(hidden, 's');
    checkLength(path, address);
    const fd = listenAt(path, backlog);
    try {
      await chmod(path, MODE);
      const { ino } = await lstat(path);
      await rename(path, address);
      return { address, fd, ino };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  } finally {
    await rm(hidden, { recursive: true, force: true });
  }
}

/** Takes the socket's place away, so that nobody new comes; unless another server's is there. */
export async function removeListener({
  address,
  ino,
}: Pick<Listener, 'address' | 'ino'>): Promise<void> {
  const there = await lstat(address).catch(() => undefined);
  if (there?.ino === ino) await rm(address, { force: true });
}

async function checkFree(address: string): Promise<void> {
  const there = await lstat(address).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (there === undefined) return;
  if (!there.isSocket()) {
    const message = `Cannot listen on "${address}": something else is there, expected nothing or an old socket`;
    throw new SiphonError('already-exists', message);
  }
  if (await answers(address)) {
    throw new SiphonError(
      'busy',
      `Cannot listen on "${address}": a live server does, expected a free address`,
    );
  }
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => socket.removeAllListeners());
    socket.once('connect', () => socket.destroy());
  });
}

function checkLength(path: string, address: string): void {
  const excess = Buffer.byteLength(path) - MAX_PATH;
  if (excess <= 0) return;
  const message = `Cannot listen on "${address}": its folder's path is ${excess} bytes too long for a unix socket`;
  throw new SiphonError('usage', message);
}
