/** What requests to a registry are about, as callers name it. */

import type { Digest } from '../common/digest.js';

export type ManifestTarget = { tag: string } | { digest: Digest };

/** Bytes to upload; a function gives those from `start` to before `end`, and is called for each piece and attempt. */
export type UploadBody = Uint8Array | ((start: number, end: number) => AsyncIterable<Uint8Array>);

/** `:tag` or `@digest`, for messages. */
export function formatTarget(target: ManifestTarget): string {
  return 'tag' in target ? `:${target.tag}` : `@${target.digest}`;
}

/** How the target stands in a URL. */
export function targetPath(target: ManifestTarget): string {
  return 'tag' in target ? target.tag : target.digest;
}
