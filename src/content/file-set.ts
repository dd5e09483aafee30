/** Named files that can be read at any place: those of a folder, or the members of an archive. */

import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { SiphonError, systemCode } from '../common/errors.js';
import { FileBlob } from '../common/file-blob.js';

/** Where the bytes of a file lie on disk. */
export interface FileSlice {
  /** Absolute. */
  path: string;
  /** Bytes from the start of `path`. */
  offset: number;
  size: number;
}

export interface FileSet {
  /** For messages: path of the folder or archive. */
  readonly name: string;
  /** `undefined` where there is no such regular file. */
  locate(file: string): Promise<FileSlice | undefined>;
}

/** Documents in a layout or archive are far smaller; a hostile one could be huge. */
const MAX_DOCUMENT_SIZE = 16 * 1024 * 1024;

/** The files below a folder. */
export function folderFiles(folder: string): FileSet {
  const absolute = resolve(folder);
  return {
    name: folder,
    locate: async (file) => {
      const path = join(absolute, file);
      try {
        const stats = await stat(path);
        return stats.isFile() ? { path, offset: 0, size: stats.size } : undefined;
      } catch (error) {
        if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
        throw error;
      }
    },
  };
}

/**
 * The whole of a small file; `undefined` where it is missing.
 * @throws SiphonError `invalid` where it is no small file
 */
export async function readSmallFile(
  files: FileSet,
  file: string,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const slice = await files.locate(file);
  return slice && (await readSlice(slice, `${files.name}/${file}`, signal));
}

/** @param name for messages. @throws SiphonError as {@link readSmallFile} */
export async function readSlice(
  slice: FileSlice,
  name: string,
  signal: AbortSignal,
): Promise<Buffer> {
  if (slice.size > MAX_DOCUMENT_SIZE) {
    throw new SiphonError(
      'invalid',
      `Cannot read "${name}": it has ${slice.size} bytes, expected at most ${MAX_DOCUMENT_SIZE}`,
    );
  }
  const blob = await FileBlob.open(slice.path, slice);
  try {
    return await blob.read(0, slice.size, signal);
  } finally {
    await blob.close();
  }
}
