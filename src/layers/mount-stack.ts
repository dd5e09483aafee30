/** What an overlay of `siphon mount` merges, noted in the mount's folder for whoever has to mount it anew. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../common/atomic-file.js';
import { fieldsOf } from '../common/own-json.js';

/** @param lowerdirs as of OverlayStack */
export function writeMountStack(directory: string, lowerdirs: readonly string[]): Promise<void> {
  return writeFileAtomic(stackPath(directory), JSON.stringify({ lowerdirs }));
}

/** @throws SiphonError or the system error where it was never written whole */
export async function readMountStack(directory: string): Promise<string[]> {
  const text = await readFile(stackPath(directory), 'utf8');
  const { lowerdirs } = fieldsOf(JSON.parse(text), 'what a mount merges');
  return Array.isArray(lowerdirs) ? lowerdirs.map(String) : [];
}

function stackPath(directory: string): string {
  return join(directory, 'stack.json');
}
