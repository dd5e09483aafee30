/**
 * An image into a containerd, as containerd's own client would pull it, but such that a remote
 * snapshotter can serve its layers: with the labels that name them.
 *
 * All is made under a lease and referred to by labels before the image record is written, last; if
 * anything fails, the lease goes, and what it held is collected.
 */

import { chainIds } from '../common/digest.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { UndoStack } from '../common/undo-stack.js';
import { ContentStore } from '../content/content-store.js';
import { diffIdsOf } from '../content/image-config.js';
import { useImage } from '../content/recorded-image.js';
import type { Descriptor } from '../remote/descriptor.js';
import { type Reference, formatReference } from '../remote/reference.js';
import type { RegistryAccess } from '../remote/registry.js';
import { Connection, type ContainerdAddress } from './connection.js';
import { labelBlob } from './content-writer.js';
import { configLabels, sourceLabels } from './gc-labels.js';
import { type RegistryImage, storeDocuments } from './image-documents.js';
import { LayerPlacer, type PlacedLayer } from './layer-placer.js';
import { Lease } from './lease.js';
import type { PullListener } from './pull-event.js';

export interface ContainerdPullOptions {
  /** siphon's root, for the image's documents. */
  root: string;
  reference: Reference;
  containerd: ContainerdAddress;
  /** As containerd knows it. */
  snapshotter: string;
  platform?: string;
  plainHttp?: boolean;
  access?: RegistryAccess;
  signal: AbortSignal;
  onEvent?: PullListener;
  log: Logger;
}

export interface ContainerdPull {
  /** The image's name in containerd. */
  name: string;
  /** What the name stands for: the manifest, or an index. */
  target: Descriptor;
  /** Bottom first. */
  layers: PlacedLayer[];
}

/**
 * @throws SiphonError `not-found` (no such image, snapshotter or socket), `unavailable`, `corrupt`, …;
 * then nothing is left but what containerd had before
 */
export async function pullIntoContainerd(options: ContainerdPullOptions): Promise<ContainerdPull> {
  const undo = new UndoStack();
  try {
    const connection = await Connection.open(options.containerd);
    undo.defer(() => connection[Symbol.dispose]());
    await requireSnapshotter(connection, options);
    const parts = await openParts(options, undo);
    const lease = await Lease.create(connection, options.signal);
    let complete = false;
    undo.defer(() => lease.delete(!complete).catch((error: unknown) => leftLease(error, options)));
    const pulled = await pull(connection, lease, parts, options);
    complete = true;
    return pulled;
  } catch (cause) {
    if (!options.signal.aborted) throw cause;
    const name = formatReference(options.reference);
    throw new SiphonError('cancelled', `Cannot pull "${name}": interrupted`, { cause });
  } finally {
    await undo[Symbol.asyncDispose]();
  }
}

async function pull(
  connection: Connection,
  lease: Lease,
  parts: RegistryImage,
  options: ContainerdPullOptions,
): Promise<ContainerdPull> {
  const { reference, snapshotter, signal, onEvent } = options;
  const name = formatReference(reference);
  const common = { signal, ...(onEvent === undefined ? {} : { onEvent }) };
  await storeDocuments(connection, parts, common);
  const placer = { ...common, connection, lease, snapshotter, reference: name };
  const layers = await new LayerPlacer(parts, placer).placeAll();
  const topmost = parts.chain.at(-1);
  if (topmost !== undefined) {
    const labels = configLabels(snapshotter, topmost);
    await labelBlob(connection, { descriptor: parts.manifest.config, labels, signal });
  }
  await recordImage(connection, { name, target: parts.target, signal });
  return { name, target: parts.target, layers };
}

async function openParts(options: ContainerdPullOptions, undo: UndoStack): Promise<RegistryImage> {
  const { reference, signal, log, platform, plainHttp, access } = options;
  const used = await useImage(
    { kind: 'registry', reference },
    {
      root: options.root,
      store: await ContentStore.open(options.root),
      signal,
      log,
      ...(platform === undefined ? {} : { platform }),
      ...(plainHttp === undefined ? {} : { plainHttp }),
      access,
    },
  );
  undo.defer(() => used.close());
  const { image } = used;
  const { home, target, descriptor, manifest, config } = image;
  if (
    home === undefined ||
    target === undefined ||
    descriptor === undefined ||
    manifest === undefined
  ) {
    throw new Error('an image of a registry has a manifest');
  }
  const chain = chainIds(diffIdsOf(config, manifest.layers.length, image.name));
  return { image, home, target, descriptor, manifest, source: sourceLabels(reference), chain };
}

/** What went wrong before matters more; and the lease ends by itself in time. */
function leftLease(error: unknown, { log }: ContainerdPullOptions): void {
  log.warn({ err: error }, `a lease is left in containerd: ${errorMessage(error)}`);
}

const snapshotterType = 'io.containerd.snapshotter.v1';

async function requireSnapshotter(
  connection: Connection,
  { snapshotter, signal }: ContainerdPullOptions,
): Promise<void> {
  const { plugins } = await connection.call<{ plugins: { type: string; id: string }[] }>(
    { purpose: 'list snapshotters', signal },
    (metadata, options, done) =>
      connection.introspection.plugins(
        { filters: [`type==${snapshotterType}`] },
        metadata,
        options,
        done,
      ),
  );
  const names = plugins.filter(({ type }) => type === snapshotterType).map(({ id }) => id);
  if (names.includes(snapshotter)) return;
  throw new SiphonError(
    'not-found',
    `Cannot use snapshotter "${snapshotter}": the containerd at "${connection.address}" does not have it, expected one of ${names.join(', ')}`,
    {
      hint: "A snapshotter of siphon's is named in [proxy_plugins] of containerd's configuration.",
    },
  );
}

/** The record appears or points to its new target in one step; labels of an older one stay. */
async function recordImage(
  connection: Connection,
  { name, target, signal }: { name: string; target: Descriptor; signal: AbortSignal },
): Promise<void> {
  const image = {
    name,
    labels: {},
    target: {
      mediaType: target.mediaType,
      digest: target.digest,
      size: BigInt(target.size),
      annotations: {},
    },
    createdAt: undefined,
    updatedAt: undefined,
  };
  const context = { purpose: `record image "${name}"`, signal };
  try {
    await connection.call(context, (metadata, options, done) =>
      connection.images.create({ image }, metadata, options, done),
    );
  } catch (error) {
    if (errorCode(error) !== 'already-exists') throw error;
    await connection.call(context, (metadata, options, done) =>
      connection.images.update({ image, updateMask: ['target'] }, metadata, options, done),
    );
  }
}
