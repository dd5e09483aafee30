/** What a caller knows of a layer beforehand, and the comparison with what was found. */

import type { Digest, DiffId } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';

export interface ExpectedLayer {
  blobDigest?: Digest;
  diffId?: DiffId;
  /** Bytes of the blob. */
  blobSize?: number;
}

interface FoundLayer {
  blobDigest: Digest;
  diffId: DiffId;
  blobSize: number;
}

/** @throws SiphonError `corrupt` that says what was expected */
export function checkExpected(
  found: FoundLayer,
  expected: ExpectedLayer,
  verb: 'index' | 'unpack' | 'use index of' = 'index',
): void {
  const checks = [
    ['size', found.blobSize, expected.blobSize],
    ['digest', found.blobDigest, expected.blobDigest],
    ['diff id', found.diffId, expected.diffId],
  ] as const;
  for (const [what, is, should] of checks) {
    if (should === undefined || is === should) continue;
    throw new SiphonError(
      'corrupt',
      `Cannot ${verb} layer "${expected.blobDigest ?? found.blobDigest}": its ${what} is ${is}, expected ${should}`,
    );
  }
}
