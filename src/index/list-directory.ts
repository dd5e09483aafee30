import type { DirectoryEntry } from './layer-model.js';
import type { LayerIndex } from './layer-index.js';

/** Entries of one look into a directory. */
const PAGE = 1024;

/** All entries of the directory `ino`, in the order of the index. */
export function* entriesOf(index: LayerIndex, ino: number): Generator<DirectoryEntry, undefined> {
  for (let after = 0; ;) {
    const entries = index.readdir(ino, after, PAGE);
    yield* entries;
    const last = entries.at(-1);
    if (last === undefined || entries.length < PAGE) return undefined;
    after = last.position;
  }
}
