/** A layer that is mounted with all of it here: its cache is the tar itself, so that a plain folder reads the same disk. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { FuseSession, type ServeOptions } from '#src/fuse/fuse-session.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { execute } from './execute.js';

/**
 * @param tars uncompressed layers, in the numbers 1, 2, …
 * @param folder for indexes and mount
 */
export async function mountPresentLayers(
  tars: readonly string[],
  folder: string,
  options: Pick<ServeOptions, 'workers' | 'readAheadKb'> = {},
): Promise<FuseSession> {
  const indexes: string[] = [];
  let noXattrs = true;
  for (const [n, tar] of tars.entries()) {
    const indexPath = join(folder, `index-${n}.db`);
    await execute(process.execPath, ['-e', BUILD, tar, indexPath]);
    indexes.push(indexPath);
    using index = LayerIndex.open(indexPath);
    noXattrs &&= !index.info.hasXattrs;
  }
  const mountPoint = join(folder, 'mnt');
  await mkdir(mountPoint);
  const session = await FuseSession.mount({
    mountPoint,
    noXattrs,
    fetch: () => Promise.reject(new Error('everything is present')),
    ...options,
  });
  for (const [n, indexPath] of indexes.entries()) {
    using index = LayerIndex.open(indexPath);
    const presence = new SharedArrayBuffer(index.info.spanCount);
    new Uint8Array(presence).fill(1);
    session.addLayer({ number: n + 1, indexPath, cachePath: tars[n] ?? '', presence });
  }
  return session;
}

/** In a process of its own: what indexing takes is not what serving takes. */
const BUILD = `
import('#src/index/build-index.js').then(({ buildIndex }) =>
  buildIndex(require('node:fs').createReadStream(process.argv[1]), { output: process.argv[2] }));`;
