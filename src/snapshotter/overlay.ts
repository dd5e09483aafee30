/**
 * What containerd is to mount for a snapshot, as pure construction: folders in, mounts out.
 *
 * Paths go into overlay's option string as they are, where `:` separates lower folders, `,` options,
 * and `\` escapes; {@link checkMountable} keeps such paths out.
 */

import { dirname } from 'node:path';
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
  /**
   * Those of them that say nothing which the others do not. They are left out where there would be too many, where one
   * bind mount is enough without, and where what is below is shown with other owners.
   */
  dispensable: ReadonlySet<string>;
  /** What is mounted where there are no layers at all but a view's own empty folder. */
  empty: string;
  /** Further options of overlay, such as `userxattr`. */
  options: readonly string[];
  /** How the read-only folders are to be shown with other owners; see {@link IdMapping}. */
  idMapping?: readonly string[];
}

/** Bytes of options that whoever mounts surely takes: a page (mount(2)), and what they may add of their own. */
const MAX_OPTIONS = 4096 - 128;
/** OVL_MAX_STACK of Linux. */
const MAX_LOWERS = 500;

/** The mounts of a snapshot: one bind mount where that is enough, else one overlay. */
export function overlayMounts(layers: OverlayLayers): Mount[] {
  const { upper, idMapping = [], dispensable } = layers;
  // Overlay refuses a folder twice; the nearest says all that a farther one of the same layer could.
  const all = [...new Set(layers.lowers)];
  const lowers = all.filter((path) => !dispensable.has(path));
  if (lowers.length === 0) return [bindMount(upper?.fs ?? layers.empty, upper ? 'rw' : 'ro')];
  const [only] = lowers;
  if (upper === undefined && only !== undefined && lowers.length === 1)
    return [bindMount(only, 'ro', idMapping)];
  const folders = upper === undefined ? [] : [`workdir=${upper.work}`, `upperdir=${upper.fs}`];
  const others = [...idMapping, ...layers.options, ...folders];
  const best = idMapping.length === 0 && fits(all, others) ? all : lowers;
  const options = [...others, `lowerdir=${best.join(':')}`];
  return [{ type: 'overlay', source: 'overlay', target: '', options }];
}

/** As containerd counts it, which makes lower folders relative to the one that all lie in. */
function fits(lowers: readonly string[], others: readonly string[]): boolean {
  const [first = '', ...rest] = lowers;
  let shared = dirname(first);
  while (!rest.every((path) => path.startsWith(`${shared}/`)) && shared !== '/')
    shared = dirname(shared);
  const relative = lowers.map((path) => path.slice(shared.length + 1));
  const options = [...others, `lowerdir=${relative.join(':')}`].join(',');
  return lowers.length <= MAX_LOWERS && options.length <= MAX_OPTIONS;
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
