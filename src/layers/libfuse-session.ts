/** One image served by this process as a merged tree through libfuse, for people who are not root. */

import { UndoStack } from '../common/undo-stack.js';
import { isMounted } from '../common/mount-info.js';
import { mountLibfuse } from '../fuse/libfuse-driver.js';
import { checkLibfuseNeeds } from '../fuse/libfuse-needs.js';
import { type ImageOptions, openImageAt, prepareLayers } from './serve-image.js';
import { openWorkplace } from './workplace.js';

/**
 * Mounts the image on `target`. @returns what unmounts it
 * @throws SiphonError for whatever keeps the image from being served; nothing is left mounted then
 */
export async function mountThroughLibfuse(
  options: ImageOptions & { target: string },
): Promise<() => Promise<void>> {
  const { root, target, access, fillAfter, log } = options;
  await checkLibfuseNeeds();
  const undo = new UndoStack();
  try {
    const workplace = await openWorkplace({ root, undo, access, fillAfter, log });
    const used = await openImageAt(workplace, { ...options, prepares: true }, undo);
    const records = await prepareLayers(workplace, used, options);
    const layers = records.map((record) => workplace.open.open(record));
    // libfuse gives an operation 15 s, whatever arrives meanwhile.
    await Promise.all(layers.map(({ number }) => workplace.open.complete(number, options.signal)));
    const mounted = await mountLibfuse({
      mountPoint: target,
      layers,
      fetch: (miss, signal) => workplace.open.fetch(miss, signal),
      unkept: (miss) => workplace.open.unkept(miss),
      log,
    });
    // fuse-native waits for ever for a mount that somebody else has taken away.
    undo.defer(async () => (await isMounted(target)) && mounted.unmount());
    return () => undo[Symbol.asyncDispose]();
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    throw error;
  }
}
