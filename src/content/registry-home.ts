/**
 * An image in a registry. Whatever is fetched by digest goes through the content store and is fetched
 * once; what a tag meant and who refers to a manifest is asked anew each time, but remembered for when
 * the registry cannot be reached.
 */

import { createReadStream } from 'node:fs';
import { z } from 'zod';
import type { BlobSource } from '../common/blob-source.js';
import type { Digest } from '../common/digest.js';
import { errorCode, errorMessage, SiphonError } from '../common/errors.js';
import { type Logger, silentLogger } from '../common/log.js';
import { SharedWork } from '../common/shared-work.js';
import { untilRight } from '../common/until-right.js';
import {
  type Descriptor,
  descriptorSchema,
  isIndexType,
  isManifestType,
} from '../remote/descriptor.js';
import { type Reference, formatReference, isLoopbackHost } from '../remote/reference.js';
import { defaultReach } from '../remote/reachability.js';
import { type ManifestTarget, Registry, type RegistryAccess } from '../remote/registry.js';
import type { ContentStore } from './content-store.js';
import type { Artifact, ImageHome } from './image-home.js';
import { type LayerOrigin, foreignUrl, openOrigin } from './layer-origin.js';

export interface RegistryHomeOptions {
  reference: Reference;
  store: ContentStore;
  /** Implied for loopback hosts. */
  plainHttp?: boolean | undefined;
  access?: RegistryAccess | undefined;
  log?: Logger | undefined;
}

export class RegistryHome implements ImageHome {
  readonly name: string;
  readonly store: ContentStore;
  readonly #reference: Reference;
  readonly #plainHttp: boolean;
  readonly #registry: Registry;
  readonly #log: Logger;
  readonly #listing = new SharedWork<Digest, Descriptor[]>();
  /** Asked for once, whatever types are looked for. */
  readonly #referrers = new Map<Digest, Descriptor[]>();
  /** The registry did not answer; it is not asked again for what is remembered. */
  #isOffline = false;

  constructor(options: RegistryHomeOptions) {
    const { reference, store, access, log = silentLogger } = options;
    this.name = formatReference(reference);
    this.store = store;
    this.#reference = reference;
    this.#plainHttp = options.plainHttp ?? isLoopbackHost(reference.host);
    this.#log = log;
    this.#registry = new Registry({
      reference,
      plainHttp: this.#plainHttp,
      reach: defaultReach,
      log,
      ...access,
    });
  }

  async resolve(signal: AbortSignal): Promise<Descriptor> {
    try {
      return await this.#resolve(signal);
    } catch (cause) {
      if (errorCode(cause) !== 'not-found') throw cause;
      throw new SiphonError(
        'not-found',
        `Cannot find image "${this.name}": the registry does not have it`,
        { cause },
      );
    }
  }

  async readDocument(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    const { digest, mediaType } = descriptor;
    if (await this.store.has(digest)) return this.store.read(digest);
    if (isManifestType(mediaType) || isIndexType(mediaType)) {
      requireSize(descriptor, (await this.#fetchManifest({ digest }, signal)).size);
      return this.store.read(digest);
    }
    const bytes = await this.#registry.fetchBlob(descriptor, signal);
    await this.store.put(bytes);
    return bytes;
  }

  async readManifest(digest: Digest, signal: AbortSignal): Promise<Buffer> {
    if (!(await this.store.has(digest))) await this.#fetchManifest({ digest }, signal);
    return this.store.read(digest);
  }

  async readBlob(descriptor: Descriptor, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const source = this.#registry.blobSource(descriptor);
    await untilRight(source, (from) =>
      this.store.ingest(descriptor, (offset) => from.stream(signal, offset), { signal }),
    );
    return createReadStream(this.store.path(descriptor.digest), { signal });
  }

  async openBlob(descriptor: Descriptor, signal: AbortSignal): Promise<BlobSource> {
    if (await this.store.has(descriptor.digest)) return this.store.source(descriptor);
    const origin = await this.origin(descriptor, signal);
    if (origin.kind === 'url') return openOrigin(origin, descriptor, { signal });
    return this.#registry.blobSource(descriptor);
  }

  async origin(descriptor: Descriptor, signal: AbortSignal): Promise<LayerOrigin> {
    const url = foreignUrl(descriptor);
    if (url !== undefined && !(await this.#holds(descriptor, signal))) return { kind: 'url', url };
    const { host, repository } = this.#reference;
    return { kind: 'registry', host, repository, plainHttp: this.#plainHttp };
  }

  async referrers(
    subject: Digest,
    artifactType: string,
    signal: AbortSignal,
  ): Promise<Descriptor[]> {
    const list = (shared: AbortSignal): Promise<Descriptor[]> =>
      this.#listReferrers(subject, shared);
    const listed = this.#referrers.get(subject) ?? (await this.#listing.run(subject, signal, list));
    this.#referrers.set(subject, listed);
    return listed.filter((descriptor) => descriptor.artifactType === artifactType);
  }

  async push(artifact: Artifact, signal: AbortSignal): Promise<void> {
    const { blobs, manifest, descriptor, subject, artifactType } = artifact;
    for (const blob of blobs) {
      const path = this.store.path(blob.digest);
      const piece = (start: number, end: number) => createReadStream(path, { start, end: end - 1 });
      await this.#registry.pushBlob(blob, piece, signal);
    }
    await this.#registry.pushReferrer(manifest, descriptor, subject, artifactType, signal);
    this.#referrers.delete(subject.digest);
  }

  async close(): Promise<void> {
    await this.#registry.close();
  }

  async #resolve(signal: AbortSignal): Promise<Descriptor> {
    const { tag = 'latest', digest } = this.#reference;
    if (digest === undefined) return this.#resolveTag(tag, signal);
    const known = await this.store.memo.recall(`manifest ${digest}`, descriptorSchema);
    if (known !== undefined && (await this.store.has(digest))) return known;
    return this.#fetchManifest({ digest }, signal);
  }

  #resolveTag(tag: string, signal: AbortSignal): Promise<Descriptor> {
    const { host, repository } = this.#reference;
    return this.#askOrRecall({
      key: `tag ${host}/${repository}:${tag}`,
      schema: descriptorSchema,
      ask: () => this.#fetchManifest({ tag }, signal),
      isUsable: ({ digest }) => this.store.has(digest),
    });
  }

  /** Whether the registry gives the blob out; one that cannot be asked does not. */
  async #holds(descriptor: Descriptor, signal: AbortSignal): Promise<boolean> {
    try {
      return await this.#registry.hasBlob(descriptor, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      return false;
    }
  }

  async #fetchManifest(target: ManifestTarget, signal: AbortSignal): Promise<Descriptor> {
    const { descriptor, bytes } = await this.#registry.fetchManifest(target, signal);
    await this.store.put(bytes);
    await this.store.memo.remember(`manifest ${descriptor.digest}`, descriptor);
    return descriptor;
  }

  #listReferrers(subject: Digest, signal: AbortSignal): Promise<Descriptor[]> {
    const { host, repository } = this.#reference;
    return this.#askOrRecall({
      key: `referrers ${host}/${repository}@${subject}`,
      schema: z.array(descriptorSchema),
      ask: () => this.#registry.referrers(subject, undefined, signal),
      isUsable: () => Promise.resolve(true),
    });
  }

  /** What the registry answers; what it answered last, where it cannot be reached and that will do. */
  async #askOrRecall<T>(question: Question<T>): Promise<T> {
    const { key, schema, ask, isUsable } = question;
    const { memo } = this.store;
    const recall = async (): Promise<T | undefined> => {
      const known = await memo.recall(key, schema);
      return known !== undefined && (await isUsable(known)) ? known : undefined;
    };
    if (this.#isOffline) {
      const known = await recall();
      if (known !== undefined) return known;
    }
    try {
      const answer = await ask();
      await memo.remember(key, answer);
      return answer;
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      this.#isOffline = true;
      const known = await recall();
      if (known === undefined) throw error;
      this.#log.warn(
        { image: this.name, reason: errorMessage(error) },
        'registry out of reach, going on with what is known',
      );
      return known;
    }
  }
}

interface Question<T> {
  key: string;
  schema: z.ZodType<T>;
  ask: () => Promise<T>;
  /** Whether a remembered answer still helps. */
  isUsable: (known: T) => Promise<boolean>;
}

function isUnreachable(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'unavailable' || code === 'timeout';
}

function requireSize(descriptor: Descriptor, actual: number): void {
  if (actual === descriptor.size) return;
  throw new SiphonError(
    'corrupt',
    `Cannot read manifest "${descriptor.digest}": it has ${actual} bytes, expected ${descriptor.size}`,
  );
}
