/** A folder of this machine as entries of an image. */

import { type Dirent, readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Entry, directory, file, hostFile, symlink } from './entry.js';

/**
 * Folders, files and links below `from`, put below `to`, in the order of their names; anything else
 * is left out. Owners and times are the image's own; of the modes only "executable" is kept.
 */
export function treeEntries(from: string, to: string): Entry[] {
  const children = readdirSync(from, { withFileTypes: true }).sort(byName);
  return [directory(to), ...children.flatMap((child) => childEntries(child, from, to))];
}

function childEntries(child: Dirent, from: string, to: string): Entry[] {
  const [source, target] = [join(from, child.name), join(to, child.name)];
  if (child.isDirectory()) return treeEntries(source, target);
  if (child.isSymbolicLink()) return [symlink(target, readlinkSync(source))];
  if (!child.isFile()) return [];
  const { size, mode } = statSync(source);
  return [file(target, hostFile(source, size), { mode: mode & 0o111 ? 0o755 : 0o644 })];
}

function byName(a: Dirent, b: Dirent): number {
  return a.name < b.name ? -1 : 1;
}
