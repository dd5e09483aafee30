/**
 * The labels by which containerd's garbage collector finds what an image consists of: an index refers
 * to its manifests, a manifest to its config and layers, the config to the topmost snapshot.
 */

import type { ChainId } from '../common/digest.js';
import type { ImageIndex, Manifest } from '../remote/manifest.js';
import type { Reference } from '../remote/reference.js';

export type Labels = Record<string, string>;

const contentReference = 'containerd.io/gc.ref.content';
const sourcePrefix = 'containerd.io/distribution.source.';

/** On a layer's blob: the digest of its tar. */
export const uncompressedLabel = 'containerd.io/uncompressed';

export function indexLabels({ manifests }: ImageIndex): Labels {
  return numbered('m', manifests);
}

export function manifestLabels({ config, layers }: Manifest): Labels {
  return { [`${contentReference}.config`]: config.digest, ...numbered('l', layers) };
}

export function configLabels(snapshotter: string, topmost: ChainId): Labels {
  return { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: topmost };
}

/** Where the blob can be had again. */
export function sourceLabels({ host, repository }: Reference): Labels {
  return { [`${sourcePrefix}${host}`]: repository };
}

/** `wanted`, where a blob that has several repositories of one host keeps them all, as a comma list. */
export function mergeLabels(current: Labels, wanted: Labels): Labels {
  const merged = { ...wanted };
  for (const [key, value] of Object.entries(wanted)) {
    const known = key.startsWith(sourcePrefix) ? current[key] : undefined;
    if (known === undefined || known === '') continue;
    merged[key] = [...new Set([...known.split(','), value])].sort().join(',');
  }
  return merged;
}

function numbered(kind: 'm' | 'l', children: readonly { digest: string }[]): Labels {
  return Object.fromEntries(
    children.map(({ digest }, at) => [`${contentReference}.${kind}.${at}`, digest]),
  );
}
