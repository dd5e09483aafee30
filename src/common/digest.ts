/**
 * Content digests of the OCI image specification. Only sha256 is taken: it is what every registry
 * and containerd use. The brands keep apart what all look like `sha256:…`.
 */

import { createHash } from 'node:crypto';
import { SiphonError } from './errors.js';

/** Digest of bytes as stored: a blob, a manifest. `sha256:` and 64 lower-case hex digits. */
export type Digest = string & { readonly brand: 'Digest' };
/** Digest of an uncompressed layer tar. */
export type DiffId = Digest & { readonly diffId: true };
/** Digest that names a stack of layers (OCI image-spec, config.md, "Layer ChainID"). */
export type ChainId = Digest & { readonly chainId: true };

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** @throws SiphonError `invalid` where `text` is not a sha256 digest. */
export function parseDigest(text: string): Digest {
  if (!DIGEST.test(text)) {
    throw new SiphonError(
      'invalid',
      `Cannot read digest "${text}": expected "sha256:" and 64 lower-case hex digits`,
    );
  }
  return text as Digest;
}

/** As {@link parseDigest}, for the digest of an uncompressed layer. */
export function parseDiffId(text: string): DiffId {
  return parseDigest(text) as DiffId;
}

export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}

/** The 64 hex digits, as used in file names. */
export function digestHex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** Brands 32 raw sha256 bytes as a digest. */
export function digestFromHash(hash: Uint8Array): Digest {
  return `sha256:${Buffer.from(hash).toString('hex')}` as Digest;
}

/** Chain id of each layer, bottom first; result has the length of `diffIds`. */
export function chainIds(diffIds: readonly DiffId[]): ChainId[] {
  const chain: ChainId[] = [];
  for (const diffId of diffIds) {
    const parent = chain.at(-1);
    chain.push((parent === undefined ? diffId : digestOf(`${parent} ${diffId}`)) as ChainId);
  }
  return chain;
}
