/** What an overlay of `siphon mount` merges, noted in the mount's folder for whoever has to mount it anew. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../common/atomic-file.js';
import { fieldsOf } from '../common/own-json.js';
import type { OverlayStack } from './overlay-mount.js';

/** What it may do without is not noted. */
export function writeMountStack(
  directory: string,
  { lowerdirs: all, dispensable }: Pick<OverlayStack, 'lowerdirs' | 'dispensable'>,
): Promise<void> {
  const lowerdirs = all.filter((name) => dispensable?.has(name) !== true);
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
