/**
 * What containerd is to mount for a snapshot, as pure construction: folders in, mounts out.
 *
 * Paths go into overlay's option string as they are, where `:` separates lower folders, `,` options,
 * and `\` escapes; {@link checkMountable} keeps such paths out.
 */

import { SiphonError } from '../common/errors.js';
import { isUserNamespace } from '../common/user-namespace.js';

/** One mount(2) call, in the words of containerd's API. */
export interface Mount {
  type: string;
  source: string;
  target: string;
  options: string[];
}

export interface OverlayLayers {
  /** The writable folders; absent for a view. */
  upper?: { fs: string; work: string };
  /** Read-only folders, nearest parent first. */
  lowers: readonly string[];
  /** What is mounted where there are no layers at all but a view's own empty folder. */
  empty: string;
  /** Further options of overlay, such as `userxattr`. */
  options: readonly string[];
  /** How the read-only folders are to be shown with other owners; see {@link IdMapping}. */
  idMapping?: readonly string[];
}

/** The mounts of a snapshot: one bind mount where that is enough, else one overlay. */
export function overlayMounts(layers: OverlayLayers): Mount[] {
  const { upper, idMapping = [] } = layers;
  // Overlay refuses a folder twice; the nearest says all that a farther one of the same layer could.
  const lowers = [...new Set(layers.lowers)];
  if (lowers.length === 0) return [bindMount(upper?.fs ?? layers.empty, upper ? 'rw' : 'ro')];
  const [only] = lowers;
  if (upper === undefined && only !== undefined && lowers.length === 1)
    return [bindMount(only, 'ro', idMapping)];
  const folders = upper === undefined ? [] : [`workdir=${upper.work}`, `upperdir=${upper.fs}`];
  const options = [...idMapping, ...layers.options, ...folders, `lowerdir=${lowers.join(':')}`];
  return [{ type: 'overlay', source: 'overlay', target: '', options }];
}

/**
 * The options of overlay that this machine needs.
 * @param uidMap text of /proc/self/uid_map: whoever does not see all ids as they are is in a user
 * namespace, where overlay may only write `user.*` attributes
 * @param index text of /sys/module/overlay/parameters/index: an index over the upper folder would
 * refuse a lower folder that changed its place
 */
export function overlayOptions(kernel: { uidMap: string; index: string }): string[] {
  const options: string[] = [];
  if (kernel.index.trim() === 'Y') options.push('index=off');
  if (isUserNamespace(kernel.uidMap)) options.push('userxattr');
  return options;
}

/** @throws SiphonError `usage` where overlay's option string cannot carry `path`. */
export function checkMountable(path: string): void {
  if (!/[:,\\\n"]/.test(path)) return;
  throw new SiphonError(
    'usage',
    `Cannot keep snapshots in "${path}": it holds a character which overlay mounts cannot take, ` +
      'expected none of : , \\ " and line feed',
  );
}

function bindMount(source: string, access: 'rw' | 'ro', more: readonly string[] = []): Mount {
  return { type: 'bind', source, target: '', options: [...more, access, 'rbind'] };
}
