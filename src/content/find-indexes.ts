/** Finds the indexes published beside an image. They are a convenience: nothing about them is fatal. */

import type { Digest } from '../common/digest.js';
import { errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Descriptor } from '../remote/descriptor.js';
import { type Found, isPassing } from './found.js';
import type { ImageHome } from './image-home.js';
import type { PublishedIndex } from './image-model.js';
import { indexArtifactType, parseIndexArtifact } from './index-artifact.js';

/** Artifacts of our type about one image that are looked at; anybody may push one. */
const MAX_ARTIFACTS = 16;

/**
 * Where several artifacts have an index of one layer, the last listed wins: lists grow at their end.
 * @throws SiphonError `cancelled` only
 */
export async function findIndexes(
  home: ImageHome,
  subject: Descriptor,
  { signal, log }: { signal: AbortSignal; log: Logger },
): Promise<Found<PublishedIndex>> {
  const found = new Map<Digest, PublishedIndex>();
  let complete = true;
  const ignore = (error: unknown, artifact?: Digest): void => {
    if (signal.aborted || errorCode(error) === 'cancelled') throw error;
    complete &&= !isPassing(error);
    const fields = { image: home.name, artifact, reason: errorMessage(error) };
    log.warn(fields, 'published indexes ignored');
  };
  let artifacts: Descriptor[] = [];
  try {
    artifacts = await home.referrers(subject.digest, indexArtifactType, signal);
  } catch (error) {
    ignore(error);
  }
  for (const artifact of artifacts.slice(-MAX_ARTIFACTS).toReversed()) {
    try {
      const bytes = await home.readDocument(artifact, signal);
      const expected = { digest: artifact.digest, subject: subject.digest };
      for (const [layer, index] of parseIndexArtifact(bytes, expected)) {
        if (!found.has(layer)) found.set(layer, (own) => home.readBlob(index, own));
      }
    } catch (error) {
      ignore(error, artifact.digest);
    }
  }
  return { indexes: found, complete };
}
