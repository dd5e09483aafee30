/** Digests of local files, computed once and remembered for as long as the file stays the same. */

import { createHash } from 'node:crypto';
import { realpath, stat } from 'node:fs/promises';
import { type Digest, digestFromHash } from '../common/digest.js';
import { FileBlob } from '../common/file-blob.js';
import { digestSchema } from '../remote/descriptor.js';
import type { ContentStore } from './content-store.js';
import type { FileSlice } from './file-set.js';

/** Changes whenever the file is replaced or written to: path, size, time of change, inode. */
export async function fileIdentity(path: string): Promise<string> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  return JSON.stringify([await realpath(path), ...[dev, ino, size, mtimeNs, ctimeNs].map(String)]);
}

/** Digest of a slice's bytes. @throws SiphonError `cancelled`, `corrupt` where the file is shorter */
export async function digestOfSlice(
  slice: FileSlice,
  options: { store: ContentStore; signal: AbortSignal },
): Promise<Digest> {
  const { memo } = options.store;
  const key = `digest ${await fileIdentity(slice.path)} ${slice.offset} ${slice.size}`;
  const known = await memo.recall(key, digestSchema);
  if (known !== undefined) return known;
  const digest = await hashSlice(slice, options.signal);
  await memo.remember(key, digest);
  return digest;
}

/** As {@link digestOfSlice}, without remembering. */
export async function hashSlice(slice: FileSlice, signal: AbortSignal): Promise<Digest> {
  const blob = await FileBlob.open(slice.path, slice);
  try {
    const hash = createHash('sha256');
    for await (const chunk of blob.stream(signal)) hash.update(chunk);
    return digestFromHash(hash.digest());
  } finally {
    await blob.close();
  }
}
