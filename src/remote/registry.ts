/**
 * One repository of an OCI registry: manifests, blobs as addressable bytes, referrers, uploads. What
 * comes by digest is verified, every wait ends, and what can be asked again is asked again.
 */

import { type Digest, digestOf } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { untilRight } from '../common/until-right.js';
import type { Descriptor } from './descriptor.js';
import { Endpoint, type EndpointOptions } from './endpoint.js';
import { type FetchedManifest, fetchManifest } from './fetch-manifest.js';
import { hasBlob, pushBlob, pushManifest } from './push.js';
import { type BlobHost, type RangeListener, RangedBlob } from './ranged-blob.js';
import type { Reference } from './reference.js';
import { listReferrers, pushReferrer } from './referrers.js';
import type { ManifestTarget, UploadBody } from './target.js';

export type { ManifestTarget, UploadBody } from './target.js';
export type RegistryOptions = EndpointOptions;
/** By what ways registries are reached, the same for all of them. */
export type RegistryAccess = Pick<EndpointOptions, 'credentials' | 'hostsDirs'>;

/** Largest blob that {@link Registry.fetchBlob} takes into memory, in bytes. */
const MAX_BLOB_IN_MEMORY = 64 * 1024 * 1024;

/**
 * All methods throw SiphonError: `not-found`, `unauthorized`, `unavailable`, `timeout`, `corrupt`,
 * `cancelled` and those they name.
 */
export class Registry {
  readonly reference: Reference;
  readonly #endpoint: Endpoint;

  /** Connects to nothing yet. */
  constructor(options: RegistryOptions) {
    this.reference = options.reference;
    this.#endpoint = new Endpoint(options);
  }

  /**
   * An image manifest or index of OCI or docker, verified where asked for by digest.
   * @throws SiphonError `unsupported` for any other kind
   */
  async fetchManifest(target: ManifestTarget, signal: AbortSignal): Promise<FetchedManifest> {
    return fetchManifest(this.#endpoint, target, signal);
  }

  /**
   * A small blob whole, verified: a config, an index.
   * @throws SiphonError `invalid` where it is larger than 64 MiB
   */
  async fetchBlob(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    const source = this.blobSource(descriptor);
    if (descriptor.size > MAX_BLOB_IN_MEMORY) {
      throw new SiphonError(
        'invalid',
        `Cannot read "${source.name}" into memory: it has ${descriptor.size} bytes, expected at most ${MAX_BLOB_IN_MEMORY}`,
      );
    }
    return untilRight(source, async (from) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of from.stream(signal)) chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      const digest = digestOf(bytes);
      if (digest === descriptor.digest) return bytes;
      throw new SiphonError('corrupt', `Cannot read "${source.name}": it has digest ${digest}`);
    });
  }

  /**
   * The blob by ranges, unverified. Closing it does nothing; closing the registry ends its reads.
   * @param onRange is told of each range that came
   */
  blobSource(descriptor: Descriptor, onRange?: RangeListener): RangedBlob {
    const { name, timeouts, retry } = this.#endpoint;
    const blobName = `${name}@${descriptor.digest}`;
    let hosts: readonly BlobHost[] | undefined;
    return new RangedBlob({
      name: blobName,
      size: descriptor.size,
      timeouts,
      retry,
      hosts: async () =>
        (hosts ??= (await this.#endpoint.hosts('pull')).map((host) =>
          host.blob(descriptor.digest),
        )),
      onRetry: (error, attempt) => this.#endpoint.noteRetry(`read "${blobName}"`, error, attempt),
      onRange,
    });
  }

  /**
   * What refers to `subject`, by the referrers API or else by the fallback tag.
   * @param artifactType `undefined` for all
   */
  async referrers(
    subject: Digest,
    artifactType: string | undefined,
    signal: AbortSignal,
  ): Promise<Descriptor[]> {
    return listReferrers(this.#endpoint, subject, artifactType, signal);
  }

  async hasBlob(descriptor: Descriptor, signal: AbortSignal): Promise<boolean> {
    return hasBlob(this.#endpoint, descriptor, signal);
  }

  /**
   * Uploads the blob unless it is there.
   * @param mountFrom a repository of the same registry that has it, as far as is known
   */
  async pushBlob(
    descriptor: Descriptor,
    body: UploadBody,
    signal: AbortSignal,
    mountFrom?: string,
  ): Promise<void> {
    const options = { signal, ...(mountFrom === undefined ? {} : { mountFrom }) };
    await pushBlob(this.#endpoint, descriptor, body, options);
  }

  /** Uploads a manifest whose blobs are there already; returns its descriptor. */
  async pushManifest(
    target: ManifestTarget,
    bytes: Uint8Array,
    mediaType: string,
    signal: AbortSignal,
  ): Promise<Descriptor> {
    return (await pushManifest(this.#endpoint, target, bytes, mediaType, signal)).descriptor;
  }

  /**
   * Uploads a manifest with a `subject` by its digest; where the registry does not keep the list of
   * referrers, the fallback tag's index is brought up to date.
   * @throws SiphonError `busy` where other clients keep overwriting that tag
   */
  async pushReferrer(
    manifestBytes: Uint8Array,
    descriptor: Descriptor,
    subject: Descriptor,
    artifactType: string,
    signal: AbortSignal,
  ): Promise<void> {
    const manifest = { bytes: manifestBytes, descriptor, artifactType };
    await pushReferrer(this.#endpoint, manifest, subject.digest, signal);
  }

  /** Ends running requests too. */
  async close(): Promise<void> {
    await this.#endpoint.close();
  }
}
