import type { BlobSource } from '../common/blob-source.js';
import type { Digest } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { CredentialSource } from './credentials.js';
import type { Descriptor } from './descriptor.js';
import type { RemoteTimeouts, RetryPolicy } from './policy.js';
import type { Reference } from './reference.js';

export interface RegistryOptions {
  reference: Reference;
  /** Implied for loopback hosts. */
  plainHttp?: boolean;
  /** Default: {@link storedCredentials}. */
  credentials?: CredentialSource;
  timeouts?: Partial<RemoteTimeouts>;
  retry?: Partial<RetryPolicy>;
  log?: Logger;
}

export type ManifestTarget = { tag: string } | { digest: Digest };
/** Bytes to upload; a function is called again for each attempt. */
export type UploadBody = Uint8Array | (() => AsyncIterable<Uint8Array>);

/** One repository on one host. */
export class Registry {
  readonly reference: Reference;

  constructor(options: RegistryOptions) {
    this.reference = options.reference;
  }
  async fetchManifest(
    _target: ManifestTarget,
    _signal: AbortSignal,
  ): Promise<{ descriptor: Descriptor; bytes: Buffer }> {
    throw pending();
  }
  async fetchBlob(_descriptor: Descriptor, _signal: AbortSignal): Promise<Buffer> {
    throw pending();
  }
  blobSource(_descriptor: Descriptor): BlobSource {
    throw pending();
  }
  async referrers(
    _subject: Digest,
    _artifactType: string,
    _signal: AbortSignal,
  ): Promise<Descriptor[]> {
    throw pending();
  }
  async hasBlob(_descriptor: Descriptor, _signal: AbortSignal): Promise<boolean> {
    throw pending();
  }
  async pushBlob(_descriptor: Descriptor, _body: UploadBody, _signal: AbortSignal): Promise<void> {
    throw pending();
  }
  async pushManifest(
    _target: ManifestTarget,
    _bytes: Uint8Array,
    _mediaType: string,
    _signal: AbortSignal,
  ): Promise<Descriptor> {
    throw pending();
  }
  async pushReferrer(
    _manifestBytes: Uint8Array,
    _descriptor: Descriptor,
    _subject: Descriptor,
    _artifactType: string,
    _signal: AbortSignal,
  ): Promise<void> {
    throw pending();
  }
  async close(): Promise<void> {}
}

function pending(): SiphonError {
  return new SiphonError('unsupported', 'Cannot reach registries: not built yet');
}
