/**
 * How clients name the layer that a Prepare is about. A remote snapshot can only be made where image,
 * layer and target are all known; each client has label names of its own for the same facts.
 */

import { type Digest, isDigest } from '../common/digest.js';
import type { Labels } from './snapshot.js';

/** The name under which the snapshot will be committed: the layer's chain id. */
export const targetLabel = 'containerd.io/snapshot.ref';

export interface LayerNaming {
  /** The image, as the client names it. */
  reference: string;
  layerDigest: Digest;
  manifestDigest?: Digest;
  /** This layer and those above it; empty where the client does not say. */
  imageLayers: Digest[];
  /** Where else a layer's blob can be had. */
  urls: ReadonlyMap<Digest, readonly string[]>;
}

interface LabelFamily {
  reference: string;
  layerDigest: string;
  manifestDigest?: string;
  imageLayers: string;
}

/** On a layer that need not lie in the registry: a comma list. With `.<n>`, of the n-th in the list of layers. */
const urlsLabel = 'containerd.io/snapshot/remote/urls';

/** CRI, nerdctl, SOCI and the transfer service; then the stargz client's. */
const families: readonly LabelFamily[] = [
  {
    reference: 'containerd.io/snapshot/cri.image-ref',
    layerDigest: 'containerd.io/snapshot/cri.layer-digest',
    manifestDigest: 'containerd.io/snapshot/cri.manifest-digest',
    imageLayers: 'containerd.io/snapshot/cri.image-layers',
  },
  {
    reference: 'containerd.io/snapshot/remote/stargz.reference',
    layerDigest: 'containerd.io/snapshot/remote/stargz.digest',
    imageLayers: 'containerd.io/snapshot/remote/stargz.layers',
  },
];

/** What `labels` say about the layer, or `undefined` where no family of labels is complete. */
export function layerNaming(labels: Labels): LayerNaming | undefined {
  for (const family of families) {
    const naming = readFamily(family, labels);
    if (naming !== undefined) return naming;
  }
  return undefined;
}

function readFamily(family: LabelFamily, labels: Labels): LayerNaming | undefined {
  const reference = labels[family.reference];
  const layerDigest = labels[family.layerDigest];
  if (!reference || layerDigest === undefined || !isDigest(layerDigest)) return undefined;
  const manifestDigest =
    family.manifestDigest === undefined ? undefined : labels[family.manifestDigest];
  const imageLayers = digestList(labels[family.imageLayers] ?? '');
  return {
    reference,
    layerDigest,
    ...(manifestDigest !== undefined && isDigest(manifestDigest) ? { manifestDigest } : {}),
    imageLayers,
    urls: layerUrls(labels, layerDigest, imageLayers),
  };
}

function layerUrls(
  labels: Labels,
  layer: Digest,
  imageLayers: readonly Digest[],
): LayerNaming['urls'] {
  const all: [Digest, string][] = imageLayers.map((digest, at) => [
    digest,
    labels[`${urlsLabel}.${at}`] ?? '',
  ]);
  all.push([layer, labels[urlsLabel] ?? '']);
  const lists = all.map(([digest, text]) => [digest, textList(text)] as const);
  return new Map(lists.filter(([, urls]) => urls.length > 0));
}

/** A comma list. Labels are cut at 4,096 bytes, so that the last entry may be half a digest. */
function digestList(text: string): Digest[] {
  return textList(text).filter((item) => isDigest(item));
}

function textList(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}
