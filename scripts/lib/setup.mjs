/** Makes a fresh clone ready: Debian packages, node_modules. Does nothing where nothing is missing. */

import { installPackages } from './debian-packages.mjs';
import { Failure } from './failure.mjs';
import { requireNode } from './node-prefix.mjs';
import {
  fitNativeModules,
  installNodeModules,
  nativeModulesLoad,
  nodeModulesAreStale,
} from './node-modules.mjs';

/**
 * @param {'build' | 'demo' | 'test' | 'bench'} purpose
 * @throws Failure
 */
export async function setup(purpose) {
  requireNode();
  if (purpose !== 'build') {
    requireRoot(purpose);
    await installPackages([purpose]);
  }
  if (nodeModulesAreStale()) {
    await installPackages(['build']);
    await installNodeModules();
  }
  if (!(await nativeModulesLoad())) {
    await installPackages(['build']);
    await fitNativeModules();
  }
}

/** @param {string} purpose */
function requireRoot(purpose) {
  if (process.getuid?.() === 0) return;
  throw new Failure(`Cannot run the ${purpose}: not root, expected root (it mounts file systems)`);
}
