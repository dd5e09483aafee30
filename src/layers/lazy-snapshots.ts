/**
 * The layers that the snapshotter sees: every layer of an image is prepared as soon as the first of them
 * is asked for, lazily or as files, as the policy decides; and each lazy one keeps its origin, so that
 * it is served again after a restart without a registry.
 */

import { type Digest, isDigest } from '../common/digest.js';
import { isDiskFull } from '../common/disk-full.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ContentStore } from '../content/content-store.js';
import { type Image, type ImageLayer, openImage } from '../content/image.js';
import type { ReadOrder } from '../content/manifest-image.js';
import { LayerIndex } from '../index/layer-index.js';
import { parseReference } from '../remote/reference.js';
import type { RegistryAccess } from '../remote/registry.js';
import { isUnreachable } from '../remote/remote-error.js';
import type {
  ImpliedPlace,
  LazyLayerRequest,
  LazyLayers,
  Lower,
  PreparedLayer,
  RootAttributes,
  UnpackPlace,
} from '../snapshotter/lazy-layers.js';
import { writeImpliedFolder } from '../unpack/implied-folder.js';
import type { LowerLayer } from '../unpack/lower-layer.js';
import {
  type Decision,
  type PolicySettings,
  decideAtFirst,
  decideWhenFailed,
  decideWhenNotServable,
  decideWhenServable,
} from './layer-policy.js';
import { foldersAbove } from './large-files.js';
import type { LayerPreparer } from './layer-preparer.js';
import type { LayerServer } from './layer-server.js';
import type { LayerStore } from './layer-store.js';
import type { OpenLayers } from './open-layers.js';
import { ScratchStores } from './scratch-stores.js';
import { type SharedImage, SharedImages } from './shared-images.js';
import type { UnpackedLayers } from './unpacked-layers.js';

/** What became of a layer that was asked for. */
export interface LayerOutcome {
  layer: Digest;
  decision: Decision;
  /** Since it was asked for. */
  seconds: number;
}

export interface LazySnapshotsOptions {
  /** siphon's root. */
  root: string;
  layers: LayerStore;
  content: ContentStore;
  preparer: LayerPreparer;
  server: LayerServer;
  open: OpenLayers;
  unpacked: UnpackedLayers;
  policy: PolicySettings;
  access?: RegistryAccess | undefined;
  /** Is told of every layer that was asked for. */
  onOutcome?: (outcome: LayerOutcome) => void;
  /** Milliseconds that an image stays open after its last use. */
  idleTime?: number;
  log: Logger;
}

/** A layer that nobody has asked for yet. */
interface Ahead {
  /** The end of the image for whose sake it is here. */
  ended: AbortSignal;
  /** Whether the next mention of it is worth another attempt. */
  failed: boolean;
}

export class LazySnapshots implements LazyLayers, AsyncDisposable {
  readonly #options: LazySnapshotsOptions;
  readonly #images: SharedImages;
  readonly #scratch: ScratchStores;
  readonly #ahead = new Map<Digest, Ahead>();
  /** How many ask for a layer now. */
  readonly #asked = new Map<Digest, number>();
  /** Layers that are being removed because nobody asked for them. */
  readonly #removals = new Map<Digest, Promise<void>>();

  constructor(options: LazySnapshotsOptions) {
    this.#options = options;
    const { idleTime } = options;
    this.#scratch = new ScratchStores(options.root);
    this.#images = new SharedImages({
      onEnd: async (ended) => {
        await this.#removeUnasked(ended);
        await this.#scratch.remove(ended);
      },
      ...(idleTime === undefined ? {} : { idleTime }),
    });
  }

  async sweep(used: ReadonlySet<number>): Promise<void> {
    const { layers, content, log } = this.#options;
    await this.#scratch.clear();
    const released = layers.unkept().filter((number) => !used.has(number));
    for (const number of released) {
      await this.release(number).catch((error: unknown) => {
        log.warn({ layer: number, err: error }, 'unused layer is not removed');
      });
    }
    const folders = await layers.removeOrphans();
    await content.abandonIngests((ref) => isDigest(ref) && layers.find(ref) !== undefined);
    if (released.length + folders.length > 0)
      log.info({ layers: released, folders }, 'released layers that no snapshot uses');
  }

  async prepare(request: LazyLayerRequest): Promise<PreparedLayer> {
    const { layerDigest } = request;
    this.#ahead.delete(layerDigest);
    this.#asked.set(layerDigest, (this.#asked.get(layerDigest) ?? 0) + 1);
    try {
      await this.#removals.get(layerDigest);
      return await this.#reporting(request, async (decided) => {
        const prepared = await this.#withLayer(request, (shared, layer) =>
          this.#prepareAll(shared, layer, request),
        );
        if (prepared.kind === 'lazy') {
          const keptHere = await this.#options.content.has(layerDigest);
          decided(decideWhenServable({ keptHere }));
        }
        return prepared;
      });
    } finally {
      const others = (this.#asked.get(layerDigest) ?? 1) - 1;
      if (others > 0) this.#asked.set(layerDigest, others);
      else this.#asked.delete(layerDigest);
    }
  }

  unpack(request: LazyLayerRequest, place: UnpackPlace): Promise<void> {
    return this.#reporting(request, async (decided) => {
      await this.#withLayer(request, ({ image }, layer) =>
        this.#options.unpacked.unpack(
          image,
          layer,
          { target: place.target, parents: this.#lowerLayers(place.parents) },
          request.signal,
        ),
      );
      const { reason, detail } = place.reason;
      decided({ way: 'unpacked', reason }, detail);
    });
  }

  async restore(number: number): Promise<{ path: string }> {
    const { layers, server } = this.#options;
    const record = layers.get(number);
    try {
      return { path: await server.restore(record) };
    } catch (error) {
      const from = record.origin.kind === 'registry' ? ` from "${record.origin.host}"` : '';
      const message = `Cannot serve layer "${record.blobDigest}"${from}: ${errorMessage(error)}`;
      throw new SiphonError('unavailable', message, { cause: error });
    }
  }

  path(number: number): string {
    return this.#options.server.path(number);
  }

  above(number: number): string[] {
    return foldersAbove(this.#options.layers.directory(number));
  }

  root(number: number): RootAttributes {
    return this.#options.open.root(number);
  }

  async writeImplied(number: number, { target, parents }: ImpliedPlace): Promise<void> {
    using index = LayerIndex.open(this.#options.layers.indexPath(number));
    await writeImpliedFolder({ target, index, parents: this.#lowerLayers(parents) });
  }

  async usage(number: number): Promise<{ size: number; inodes: number }> {
    await this.restore(number);
    return this.#options.open.usage(number);
  }

  async release(number: number): Promise<void> {
    const { layers, server, content } = this.#options;
    const { blobDigest } = layers.get(number);
    await server.stopServing(number);
    const isGone = await layers.remove(number, () => content.deleteSync(blobDigest));
    if (isGone) await content.forgetIngest(blobDigest);
  }

  /** Ends what is being prepared ahead. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#images[Symbol.asyncDispose]();
    await this.#scratch.clear();
  }

  #lowerLayers(lowers: readonly Lower[]): LowerLayer[] {
    return lowers.map((lower) =>
      typeof lower === 'string'
        ? lower
        : { index: this.#options.layers.indexPath(lower.layer), implied: lower.implied },
    );
  }

  /** Does `work`, and tells what became of the layer in the end. */
  async #reporting<T>(
    request: LazyLayerRequest,
    work: (decided: (decision: Decision, detail?: string) => void) => Promise<T>,
  ): Promise<T> {
    const { reference: image, layerDigest: layer, signal } = request;
    const { log, onOutcome } = this.#options;
    const start = performance.now();
    const decided = (decision: Decision, detail?: string): void => {
      const seconds = (performance.now() - start) / 1000;
      log.info({ image, layer, ...decision, detail, seconds }, `layer is ${decision.way}`);
      onOutcome?.({ layer, decision, seconds });
    };
    try {
      return await work(decided);
    } catch (error) {
      const told = explained(error, request);
      const code = isDiskFull(told) ? 'no-space' : errorCode(told);
      const givenUp = signal.aborted || code === 'cancelled';
      if (!givenUp) decided(decideWhenFailed(code), errorMessage(told));
      throw told;
    }
  }

  /** Gives `work` the layer that is asked for, in its image. */
  async #withLayer<T>(
    request: LazyLayerRequest,
    work: (shared: SharedImage, layer: ImageLayer) => Promise<T>,
  ): Promise<T> {
    const { reference, layerDigest, manifestDigest, signal } = request;
    const key = `${reference} ${manifestDigest ?? ''}`;
    const attempt = (): Promise<{ done: T } | undefined> =>
      this.#images.use(
        key,
        (ended) => this.#openImage(request, ended),
        async (shared) => {
          signal.throwIfAborted();
          const layer = await layerOf(shared, layerDigest, request);
          return layer === undefined ? undefined : { done: await work(shared, layer) };
        },
      );
    const found = await attempt();
    if (found !== undefined) return found.done;
    // A tag may have moved since the image was opened; a manifest stays what it is.
    this.#images.forget(key);
    const later = manifestDigest === undefined ? await attempt() : undefined;
    if (later !== undefined) return later.done;
    throw new SiphonError(
      'not-found',
      `Cannot prepare layer "${layerDigest}": not in image "${reference}", expected one of its layers`,
    );
  }

  async #prepareAll(
    shared: SharedImage,
    layer: ImageLayer,
    request: LazyLayerRequest,
  ): Promise<PreparedLayer> {
    const { layerDigest, imageLayers, signal } = request;
    const asked = this.#prepareOne(shared, layer, signal);
    asked.catch(() => undefined); // it may fail while the others are looked up
    for (const digest of imageLayers) {
      const above = digest === layerDigest ? undefined : await layerOf(shared, digest, request);
      if (above !== undefined) shared.background(this.#prepareAhead(shared, above));
    }
    return asked;
  }

  async #prepareOne(
    { image }: SharedImage,
    layer: ImageLayer,
    signal: AbortSignal,
  ): Promise<PreparedLayer> {
    const { preparer, server, policy } = this.#options;
    const { descriptor } = layer;
    const first = decideAtFirst(descriptor, policy);
    if (first?.way === 'left') throw unknownType(image, layer);
    if (first?.way === 'unpacked') {
      const detail = `${descriptor.size} bytes, less than ${policy.smallestLazyLayer}`;
      return { kind: 'files', reason: { reason: first.reason, detail } };
    }
    try {
      const record = await preparer.prepare(image, layer, { signal, badIndex: 'stream' });
      return { kind: 'lazy', number: record.number, path: await server.serve(record) };
    } catch (error) {
      const next = decideWhenNotServable(errorCode(error));
      if (next === undefined) throw error;
      await this.#remove(descriptor.digest);
      return { kind: 'files', reason: { reason: next.reason, detail: errorMessage(error) } };
    }
  }

  async #openImage(
    { reference: name, manifestDigest }: LazyLayerRequest,
    signal: AbortSignal,
  ): Promise<Image> {
    const { access, layers, open, log } = this.#options;
    const store = await this.#scratch.open(signal);
    const reference = parseReference(name);
    const pinned = manifestDigest === undefined ? {} : { digest: manifestDigest };
    const source = { kind: 'registry', reference: { ...reference, ...pinned } } as const;
    const ordering: ReadOrder = (blob, origin) => open.ordering(blob, origin);
    const { hasIndex } = layers;
    return openImage(source, { store, signal, access, ordering, hasIndex, log });
  }

  /** Every call for a layer of an image names those above it again, so what is under way costs nothing. */
  async #prepareAhead(shared: SharedImage, layer: ImageLayer): Promise<void> {
    const { layers, open, policy, log } = this.#options;
    const { digest } = layer.descriptor;
    const { ended } = shared;
    const before = this.#ahead.get(digest);
    if (before?.ended === ended && !before.failed) return;
    const record = layers.find(digest);
    if (record !== undefined && open.has(record.number)) return;
    const ahead: Ahead = { ended, failed: false };
    const isNew = record === undefined && !this.#asked.has(digest);
    if (isNew || before !== undefined) this.#ahead.set(digest, ahead);
    try {
      await this.#removals.get(digest);
      const first = decideAtFirst(layer.descriptor, policy);
      if (first === undefined) await this.#prepareLazilyAhead(shared, layer);
      else if (first.way === 'unpacked') await this.#unpackAhead(shared, layer);
    } catch (error) {
      ahead.failed = true;
      log.debug({ layer: digest, reason: errorMessage(error) }, 'not prepared ahead');
    }
  }

  async #prepareLazilyAhead(shared: SharedImage, layer: ImageLayer): Promise<void> {
    const { image, ended } = shared;
    try {
      await this.#options.preparer.prepare(image, layer, { signal: ended, badIndex: 'stream' });
    } catch (error) {
      if (decideWhenNotServable(errorCode(error)) === undefined) throw error;
      await this.#unpackAhead(shared, layer);
    }
  }

  #unpackAhead({ image, ended }: SharedImage, layer: ImageLayer): Promise<void> {
    return this.#options.unpacked.unpackAhead(image, layer, ended);
  }

  /** What came ahead for an image that nobody wanted in the end: a pull that failed or was cancelled. */
  async #removeUnasked(ended: AbortSignal): Promise<void> {
    await this.#options.unpacked.removeUnasked(ended);
    for (const [digest, ahead] of this.#ahead) {
      if (ahead.ended !== ended) continue;
      this.#ahead.delete(digest);
      const removal = this.#remove(digest).catch((error: unknown) => {
        this.#options.log.warn({ layer: digest, err: error }, 'unused layer is not removed');
      });
      this.#removals.set(digest, removal);
      await removal;
      this.#removals.delete(digest);
    }
  }

  async #remove(digest: Digest): Promise<void> {
    const { layers, open } = this.#options;
    const record = layers.find(digest);
    if (record !== undefined && !open.has(record.number)) await this.release(record.number);
  }
}

/** The layer with what the client says of where it lies besides; its manifest's own word comes first. */
async function withUrls(
  image: Image,
  layer: ImageLayer,
  { urls, signal }: { urls: readonly string[] | undefined; signal: AbortSignal },
): Promise<ImageLayer> {
  if (urls === undefined || layer.descriptor.urls !== undefined || image.home === undefined) {
    return layer;
  }
  const descriptor = { ...layer.descriptor, urls: [...urls] };
  return { ...layer, descriptor, origin: await image.home.origin(descriptor, signal) };
}

async function layerOf(
  { image }: SharedImage,
  digest: Digest,
  { urls, signal }: LazyLayerRequest,
): Promise<ImageLayer | undefined> {
  const layer = image.layers.find((one) => one.descriptor.digest === digest);
  return layer && withUrls(image, layer, { urls: urls.get(digest), signal });
}

function unknownType(image: Image, { descriptor }: ImageLayer): SiphonError {
  const { digest, mediaType } = descriptor;
  return new SiphonError(
    'unsupported',
    `Cannot prepare layer "${digest}" of "${image.name}": its media type is "${mediaType}", expected a layer's`,
  );
}

/** As {@link LazyLayers.prepare} tells failures: the layer is named, and `unavailable` is a registry that is gone. */
function explained(error: unknown, { layerDigest, reference, signal }: LazyLayerRequest): unknown {
  const code = errorCode(error);
  if (signal.aborted || code === undefined || code === 'cancelled') return error;
  const message = errorMessage(error);
  const named = message.includes(layerDigest)
    ? message
    : `Cannot prepare layer "${layerDigest}" of "${reference}": ${message}`;
  const isGone = hasCause(error, isUnreachable);
  const told = isGone ? 'unavailable' : code === 'unavailable' ? 'failed-precondition' : code;
  return new SiphonError(told, named, { cause: error });
}

function hasCause(error: unknown, matches: (error: unknown) => boolean): boolean {
  for (let one = error; one !== undefined; one = one instanceof Error ? one.cause : undefined) {
    if (matches(one)) return true;
  }
  return false;
}
