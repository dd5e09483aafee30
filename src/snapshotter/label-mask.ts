/** Update's field mask: which labels of a snapshot change. */

import { SiphonError } from '../common/errors.js';
import type { Labels } from './snapshot.js';

const prefix = 'labels.';

/**
 * The labels after an update. `labels` or no path at all replaces all of them; `labels.<key>`, where
 * all after the first dot is the key, sets that one or, where `wanted` lacks it, deletes it.
 * @throws SiphonError `invalid` for any other path: nothing else of a snapshot can change
 */
export function applyLabelMask(current: Labels, wanted: Labels, paths: readonly string[]): Labels {
  if (paths.length === 0) return { ...wanted };
  const labels = new Map(Object.entries(current));
  for (const path of paths) {
    if (path === 'labels') return { ...wanted };
    if (!path.startsWith(prefix)) {
      const message = `Cannot update field "${path}" of a snapshot: it never changes, expected "labels" or "labels.<key>"`;
      throw new SiphonError('invalid', message);
    }
    setOrDelete(labels, path.slice(prefix.length), wanted);
  }
  return Object.fromEntries(labels);
}

function setOrDelete(labels: Map<string, string>, key: string, wanted: Labels): void {
  const value = Object.hasOwn(wanted, key) ? wanted[key] : undefined;
  if (value === undefined) labels.delete(key);
  else labels.set(key, value);
}
