/** What background work leaves of a disk to everybody else. */

import { statfs } from 'node:fs/promises';

/** Share of the file system that stays free. */
const SPARE = 0.1;

export interface DiskRoom {
  /** Bytes that are free. */
  free: number;
  /** Bytes that may be written so that enough stays free; negative where it is too little already. */
  room: number;
}

/** @throws the system error */
export async function diskRoom(path: string): Promise<DiskRoom> {
  const { bavail, blocks, bsize } = await statfs(path);
  return { free: bavail * bsize, room: bavail * bsize - blocks * bsize * SPARE };
}
