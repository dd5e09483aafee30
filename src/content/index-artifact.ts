import type { Digest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import type { Descriptor } from '../remote/descriptor.js';
import type { Image } from './image-model.js';

export const indexArtifactType = 'application/vnd.siphon.index.v1';
export const layerIndexMediaType = 'application/vnd.siphon.layer-index.v1.sqlite+gzip';
export const layerDigestAnnotation = 'dev.siphon.layer.digest';

/** Publishes index files (paths, by layer blob digest) beside the image. */
export function publishIndexes(
  _image: Image,
  _indexes: ReadonlyMap<Digest, string>,
  _signal: AbortSignal,
): Promise<Descriptor> {
  throw new SiphonError('unsupported', 'Cannot publish indexes: not built yet');
}
