/** Images recorded in a root, opened by name for whoever hands them on. */

import type { Logger } from '../common/log.js';
import { UndoStack } from '../common/undo-stack.js';
import type { BlobListener } from '../content/blob-event.js';
import { ContentStore } from '../content/content-store.js';
import { type ExportTarget, exportImage } from '../content/export-image.js';
import type { Image } from '../content/image.js';
import { ImageDatabase } from '../content/image-database.js';
import { parseImageName } from '../content/image-name.js';
import { pushImage } from '../content/push-image.js';
import { openRecorded, recordedHome } from '../content/recorded-image.js';
import type { StoredHome } from '../content/stored-home.js';
import type { Descriptor } from '../remote/descriptor.js';
import type { Reference } from '../remote/reference.js';
import type { RegistryAccess } from '../remote/registry.js';
import { decompress } from '../unpack/decompress.js';
import { LayerStore } from './layer-store.js';

export interface LocalImageOptions {
  root: string;
  /** As a person has typed it. */
  name: string;
  platform?: string;
  plainHttp?: boolean;
  access?: RegistryAccess;
  /** All that the name stands for, not the image for one platform alone. */
  allPlatforms: boolean;
  signal: AbortSignal;
  onEvent?: BlobListener;
  log: Logger;
}

interface LocalImage {
  name: string;
  /** For one platform; absent where all are to be handed on. */
  image?: Image;
  home: StoredHome;
  /** What is to be handed on. */
  root: Descriptor;
}

/** @throws SiphonError `not-found` (the name); as the export and what it fetches */
export async function exportLocalImage(
  options: LocalImageOptions & { target: ExportTarget },
): Promise<void> {
  const { signal, onEvent, target } = options;
  const events = onEvent === undefined ? {} : { onEvent };
  await withLocalImage(options, (local) =>
    exportImage({ ...local, target, inflate, signal, ...events }),
  );
}

/** @throws SiphonError `not-found` (the name), `unauthorized`, `unavailable`, … */
export async function pushLocalImage(
  options: LocalImageOptions & { reference: Reference },
): Promise<Descriptor> {
  const { plainHttp, ...others } = options;
  return withLocalImage(others, async ({ home, root }) => {
    await pushImage({ ...options, home, root, plainHttp });
    return root;
  });
}

async function withLocalImage<T>(
  options: LocalImageOptions,
  work: (local: LocalImage) => Promise<T>,
): Promise<T> {
  await using undo = new UndoStack();
  const { root, log } = options;
  const images = ImageDatabase.open(root);
  undo.defer(() => images[Symbol.dispose]());
  const lease = await images.lease();
  undo.defer(() => lease.end());
  const record = images.get(parseImageName(options.name));
  lease.add([record.target]);
  const store = await ContentStore.open(root);
  const layers = LayerStore.open(root, process.pid, log);
  undo.defer(() => layers[Symbol.dispose]());
  const how = { ...options, store, locate: layers.originOf };
  const home = recordedHome(record, how);
  undo.defer(() => home.close());
  const { name, target } = record;
  // None of all need be for this machine.
  if (options.allPlatforms) return await work({ name, home, root: target });
  const image = await openRecorded(record, how);
  undo.defer(() => image.close());
  return await work({ name, image, home, root: image.descriptor ?? target });
}

/** @throws SiphonError `unsupported` (a format of no kind that is known), `corrupt` */
async function* inflate(blob: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { tar } = await decompress(buffers(blob));
  yield* tar;
}

async function* buffers(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const chunk of bytes) {
    yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  }
}
