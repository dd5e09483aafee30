/** What requests to a registry are about, as callers name it. */

import type { Digest } from '../common/digest.js';

export type ManifestTarget = { tag: string } | { digest: Digest };

/** Bytes to upload; a function is called again for each attempt. */
export type UploadBody = Uint8Array | (() => AsyncIterable<Uint8Array>);

/** `:tag` or `@digest`, for messages. */
export function formatTarget(target: ManifestTarget): string {
  return 'tag' in target ? `:${target.tag}` : `@${target.digest}`;
}

/** How the target stands in a URL. */
export function targetPath(target: ManifestTarget): string {
  return 'tag' in target ? target.tag : target.digest;
}
