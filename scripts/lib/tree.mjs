/** Where things stand in the source tree. */

import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

export const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '');

/**
 * A path inside the source tree.
 * @param {...string} parts
 */
export function inTree(...parts) {
  return join(root, ...parts);
}

/**
 * The program an installed package puts into `node_modules/.bin`.
 * @param {string} name
 */
export function tool(name) {
  return inTree('node_modules', '.bin', name);
}
