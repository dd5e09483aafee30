import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunnableImage } from './image-process.js';
import { prepareContainer } from './prepare-container.js';

/** What a bundle's root filesystem is called in it. */
export const BUNDLE_ROOTFS = 'rootfs';

/**
 * Writes config.json beside the root filesystem of a bundle, so that an OCI runtime can run it as it is
 * and wherever it is moved.
 * @throws as prepareContainer
 */
export async function writeBundle(bundle: string, config: RunnableImage): Promise<void> {
  const spec = await prepareContainer({ rootfs: join(bundle, BUNDLE_ROOTFS), config });
  const text = JSON.stringify(
    { ...spec, root: { ...spec.root, path: BUNDLE_ROOTFS } },
    undefined,
    2,
  );
  await writeFile(join(bundle, 'config.json'), `${text}\n`, { flag: 'wx' });
}
