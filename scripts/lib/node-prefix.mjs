/** Where the running Node was installed, and whether its headers came with it. */

import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Failure } from './failure.mjs';

const OLDEST = [20, 19];

/** @throws Failure where the running Node is older than package.json's `engines` allow. */
export function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return;
  throw new Failure(
    `Cannot use Node ${process.versions.node}: siphon needs ${OLDEST.join('.')} or later`,
  );
}

/**
 * The installation prefix of `node` if it holds the headers that native addons compile against;
 * node-gyp takes them from there (`npm_config_nodedir`) and then downloads nothing.
 * @param {string} [node]
 */
export function prefixWithHeaders(node = process.execPath) {
  const prefix = dirname(dirname(realpathSync(node)));
  return existsSync(join(prefix, 'include/node/node.h')) ? prefix : undefined;
}
