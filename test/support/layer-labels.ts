/** What containerd says of a layer when it prepares a snapshot that may be remote (labels of its CRI part). */

export interface NamedLayer {
  /** Name that the snapshot is to be committed as. */
  target: string;
  /** Reference of the image. */
  image: string;
  /** Of the layer's blob. */
  digest: string;
  /** Digests of this layer and of those above it, where they are named. */
  layers?: readonly string[];
}

export function layerLabels({ target, image, digest, layers }: NamedLayer): Record<string, string> {
  return {
    'containerd.io/snapshot.ref': target,
    'containerd.io/snapshot/cri.image-ref': image,
    'containerd.io/snapshot/cri.layer-digest': digest,
    ...(layers && { 'containerd.io/snapshot/cri.image-layers': layers.join(',') }),
  };
}
