/**
 * Snapshots for containers in user namespaces. The ids that the container's root stands for own a new
 * snapshot's folder; the layers below keep their owners, and whoever mounts them shows those shifted
 * (idmapped mounts), as the options `uidmap=` and `gidmap=` say, which containerd 2 understands.
 */

import { SiphonError } from '../common/errors.js';
import type { Labels } from './snapshot.js';

const uidLabel = 'containerd.io/snapshot/uidmapping';
const gidLabel = 'containerd.io/snapshot/gidmapping';

export interface IdMapping {
  /** What root of the container is on this machine. */
  root: { uid: number; gid: number };
  /** For a mount that shows lower layers. */
  options: string[];
}

/**
 * The mapping that a snapshot's labels ask for, each a comma list of `container:host:length`.
 * @throws SiphonError `invalid` where one is missing or malformed, or leaves root out
 */
export function idMappingOf(labels: Labels): IdMapping | undefined {
  const { [uidLabel]: uids, [gidLabel]: gids } = labels;
  if (uids === undefined && gids === undefined) return undefined;
  const root = { uid: hostRoot(uidLabel, uids), gid: hostRoot(gidLabel, gids) };
  return { root, options: [`uidmap=${uids}`, `gidmap=${gids}`] };
}

/** The largest id there is; the next one means "none". */
const MAX_ID = 2 ** 32 - 2;

function hostRoot(label: string, text = ''): number {
  // All of it goes into mount options as it is.
  const ranges = text.split(',').map(parseRange);
  const root = ranges.every((range) => range !== undefined)
    ? ranges.find(({ container }) => container === 0)
    : undefined;
  if (root !== undefined) return root.host;
  throw new SiphonError(
    'invalid',
    `Cannot map ids by label "${label}": it is "${text}", expected container:host:length with a range from 0`,
  );
}

function parseRange(text: string): { container: number; host: number } | undefined {
  const match = /^(\d{1,10}):(\d{1,10}):([1-9]\d{0,9})$/.exec(text);
  if (match === null) return undefined;
  const [container = 0, host = 0, length = 0] = match.slice(1).map(Number);
  return host + length - 1 > MAX_ID ? undefined : { container, host };
}
