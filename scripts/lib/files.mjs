/** Folders of the tree as lists of files, and their contents as one hash. */

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { inTree } from './tree.mjs';

/**
 * All files below `path`, which may itself be a file or missing; relative to the tree, sorted.
 * @param {string} path relative to the tree
 * @returns {string[]}
 */
export function filesBelow(path) {
  if (!existsSync(inTree(path))) return [];
  if (!statSync(inTree(path)).isDirectory()) return [path];
  return readdirSync(inTree(path), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(inTree().length + 1))
    .sort();
}

/**
 * Changes when a file below one of `paths` appears, goes or changes.
 * @param {readonly string[]} paths relative to the tree
 */
export function fingerprint(paths) {
  const hash = createHash('sha256');
  for (const file of paths.flatMap(filesBelow)) {
    const bytes = readFileSync(inTree(file));
    hash.update(`${file}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}
