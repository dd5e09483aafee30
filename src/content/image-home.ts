/**
 * Where the documents of an image lie together with the artifacts that refer to it: a repository of a
 * registry, or an OCI layout. Everything about manifests, platforms and indexes is written against this.
 */

import type { BlobSource } from '../common/blob-source.js';
import type { Digest } from '../common/digest.js';
import type { Descriptor } from '../remote/descriptor.js';
import type { ContentStore } from './content-store.js';
import type { LayerOrigin } from './layer-origin.js';

export interface ImageHome {
  /** What was opened, for people. */
  readonly name: string;
  readonly store: ContentStore;
  /** The descriptor that the reference stands for now. @throws SiphonError `not-found`, … */
  resolve(signal: AbortSignal): Promise<Descriptor>;
  /** The verified bytes of a manifest, index or config. @throws SiphonError `not-found`, `corrupt`, … */
  readDocument(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer>;
  /** The verified bytes of a manifest of which nothing but the digest is known. Errors as above. */
  readManifest(digest: Digest, signal: AbortSignal): Promise<Buffer>;
  /** The bytes of a blob, verified before the first of them is given out. Errors as above. */
  readBlob(descriptor: Descriptor, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /** A layer's blob as addressable bytes, unverified. */
  openBlob(descriptor: Descriptor, signal: AbortSignal): Promise<BlobSource>;
  /**
   * How to open the blob in another process. One that its home does not have lies where its
   * descriptor's `urls` say (a foreign layer). @throws SiphonError `not-found`, `cancelled`
   */
  origin(descriptor: Descriptor, signal: AbortSignal): Promise<LayerOrigin>;
  /** Descriptors of the manifests whose `subject` is `subject`, of one artifact type. */
  referrers(subject: Digest, artifactType: string, signal: AbortSignal): Promise<Descriptor[]>;
  /** Puts an artifact there; what is there already stays as it is. @throws SiphonError `unsupported` */
  push(artifact: Artifact, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** An artifact ready to be put somewhere. */
export interface Artifact {
  subject: Descriptor;
  artifactType: string;
  descriptor: Descriptor;
  manifest: Buffer;
  /** They lie in the home's content store. */
  blobs: Descriptor[];
}
