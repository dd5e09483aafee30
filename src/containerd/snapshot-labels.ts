/**
 * The labels by which a remote snapshotter knows which layer a Prepare is about. Each snapshotter has
 * label names of its own for the same facts; all of them are given, so that any of them can serve.
 */

import type { ChainId, Digest } from '../common/digest.js';
import type { Descriptor } from '../remote/descriptor.js';
import type { Labels } from './gc-labels.js';

const prefix = 'containerd.io/snapshot/';
/** containerd refuses a label whose name and value together are longer, in bytes. */
const MAX_LABEL = 4096;

export interface LayerPlace {
  /** As the image is named. */
  reference: string;
  manifest: Digest;
  /** What the layer's snapshot is committed as. */
  chainId: ChainId;
  /** The layer, and those above it. */
  layers: readonly [Descriptor, ...Descriptor[]];
}

export function snapshotLabels({ reference, manifest, chainId, layers }: LayerPlace): Labels {
  const [{ digest, size, urls = [] }] = layers;
  const digests = layers.map((layer) => layer.digest);
  return {
    'containerd.io/snapshot.ref': chainId,
    // CRI, nerdctl
    [`${prefix}cri.image-ref`]: reference,
    [`${prefix}cri.manifest-digest`]: manifest,
    [`${prefix}cri.layer-digest`]: digest,
    ...list(`${prefix}cri.image-layers`, digests),
    // stargz
    [`${prefix}remote/stargz.reference`]: reference,
    [`${prefix}remote/stargz.digest`]: digest,
    ...list(`${prefix}remote/stargz.layers`, digests),
    // SOCI
    [`${prefix}remote/soci.size`]: String(size),
    ...list(
      `${prefix}remote/image.layers.size`,
      layers.map((layer) => String(layer.size)),
    ),
    ...(urls.length === 0 ? {} : list(`${prefix}remote/urls`, urls)),
  };
}

/** A comma list of as many items from the first on as a label can hold. */
function list(name: string, items: readonly string[]): Labels {
  const room = MAX_LABEL - Buffer.byteLength(name);
  let text = '';
  for (const item of items) {
    const longer = text === '' ? item : `${text},${item}`;
    if (Buffer.byteLength(longer) > room) break;
    text = longer;
  }
  return { [name]: text };
}
