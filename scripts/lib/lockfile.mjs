/**
 * package-lock.json as `npm ci` wants it. Where a registry does not answer for the package of another
 * platform, `npm install` writes a lock file without it, and says nothing; `npm ci` then refuses.
 */

import { readFileSync } from 'node:fs';
import { inTree } from './tree.mjs';

/**
 * @typedef {{ optionalDependencies?: Record<string, string> }} LockedPackage
 */

/** Optional dependencies that the lock file's packages name and it has no entry for. */
export function missingFromLock() {
  const lock = /** @type {{ packages: Record<string, LockedPackage> }} */ (
    JSON.parse(readFileSync(inTree('package-lock.json'), 'utf8'))
  );
  return Object.entries(lock.packages).flatMap(([path, entry]) =>
    Object.keys(entry.optionalDependencies ?? {}).filter(
      (name) => !isLocked(lock.packages, path, name),
    ),
  );
}

/**
 * Looks where Node would: beside the package's own dependencies, then in each folder above.
 * @param {Record<string, LockedPackage>} packages
 * @param {string} path
 * @param {string} name
 */
function isLocked(packages, path, name) {
  for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    const prefix = at === '' ? '' : `${at}/`;
    if (`${prefix}node_modules/${name}` in packages) return true;
    if (at === '') return false;
  }
}
