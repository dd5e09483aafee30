/** Layers that are mounted with all of them here: their cache is the tar itself, so that a plain folder reads the same disk. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { silentLogger } from '#src/common/log.js';
import { ContentStore } from '#src/content/content-store.js';
import { FuseSession, type ServeOptions } from '#src/fuse/fuse-session.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { LargeFiles, foldersAbove } from '#src/layers/large-files.js';
import { execute } from './execute.js';

export interface PresentLayers {
  session: FuseSession;
  /** The folders that an overlay of the layers has now, topmost first. */
  lowerdirs(): string[];
  /** Keeps the large files apart that were read so far, as siphon does with layers that are here as a whole. */
  keepLargeFiles(signal: AbortSignal): Promise<void>;
}

interface PresentLayer {
  number: number;
  directory: string;
  tar: string;
  indexPath: string;
  presence: SharedArrayBuffer;
  used: SharedArrayBuffer;
}

/**
 * @param tars uncompressed layers, bottom first, in the numbers 1, 2, …
 * @param folder for indexes, mount and large files
 */
export async function mountPresentLayers(
  tars: readonly string[],
  folder: string,
  options: Pick<ServeOptions, 'workers' | 'readAheadKb'> = {},
): Promise<PresentLayers> {
  const layers: PresentLayer[] = [];
  let noXattrs = true;
  for (const [n, tar] of tars.entries()) {
    const directory = join(folder, `layer-${n}`);
    await mkdir(directory);
    const indexPath = join(directory, 'index.db');
    await execute(process.execPath, ['-e', BUILD, tar, indexPath]);
    using index = LayerIndex.open(indexPath);
    noXattrs &&= !index.info.hasXattrs;
    const { spanCount } = index.info;
    const presence = new SharedArrayBuffer(spanCount);
    new Uint8Array(presence).fill(1);
    const used = new SharedArrayBuffer(spanCount * Uint32Array.BYTES_PER_ELEMENT);
    layers.push({ number: n + 1, directory, tar, indexPath, presence, used });
  }
  const mountPoint = join(folder, 'mnt');
  await mkdir(mountPoint);
  const session = await FuseSession.mount({
    mountPoint,
    noXattrs,
    fetch: () => Promise.reject(new Error('everything is present')),
    ...options,
  });
  for (const { tar: cachePath, ...layer } of layers) session.addLayer({ ...layer, cachePath });
  return {
    session,
    lowerdirs: () =>
      layers
        .toReversed()
        .flatMap(({ number, directory }) => [
          ...foldersAbove(directory),
          session.layerPath(number),
        ]),
    keepLargeFiles: (signal) => keepLargeFiles(layers, folder, signal),
  };
}

async function keepLargeFiles(
  layers: readonly PresentLayer[],
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  const at = (number: number): PresentLayer => {
    const layer = layers[number - 1];
    if (layer === undefined) throw new Error(`there is no layer ${number}`);
    return layer;
  };
  const largeFiles = new LargeFiles({
    content: await ContentStore.open(join(folder, 'root')),
    directoryOf: (number) => at(number).directory,
    indexPathOf: (number) => at(number).indexPath,
    quiet: 0,
    room: () => Number.POSITIVE_INFINITY,
    onWritten: () => undefined,
    log: silentLogger,
  });
  for (const { number, tar: path, indexPath, used } of layers) {
    using index = LayerIndex.open(indexPath);
    const read = Uint8Array.from(new Uint32Array(used), (time) => (time === 0 ? 0 : 1));
    if (!read.includes(1)) continue;
    const presence = new SharedArrayBuffer(read.length);
    new Uint8Array(presence).set(read);
    const { blobDigest } = index.info;
    const record = { number, blobDigest, origin: { kind: 'file', path } } as const;
    const until = AbortSignal.any([signal, AbortSignal.timeout(GIVEN_UP)]);
    await largeFiles.write({ record, index, cache: { presence, used } }, until);
  }
}

/** Milliseconds after which a layer of which no large file was read is left as it is. */
const GIVEN_UP = 30_000;

/** In a process of its own: what indexing takes is not what serving takes. */
const BUILD = `
import('#src/index/build-index.js').then(({ buildIndex }) =>
  buildIndex(require('node:fs').createReadStream(process.argv[1]), { output: process.argv[2] }));`;
