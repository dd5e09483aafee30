/**
 * A layer tar that nobody has hashed: what names it is where it lies and which version lies there. Its
 * bytes cannot be checked, so whoever reads them must be sure of the version at least.
 */

import type { BlobSource } from '../common/blob-source.js';
import { type Digest, digestOf } from '../common/digest.js';
import { SiphonError } from '../common/errors.js';
import { FileBlob } from '../common/file-blob.js';
import { fileIdentity } from './file-digest.js';
import { type LayerOrigin, type OpenOriginOptions, openUrlBlob } from './layer-origin.js';

export async function nameOfFile(path: string): Promise<Digest> {
  return digestOf(JSON.stringify(['layer in', await fileIdentity(path)]));
}

/** @param version the server's size and validator of what lies there */
export function nameOfUrl(
  url: string,
  { size, validator }: { size: number; validator?: string | undefined },
): Digest {
  return digestOf(JSON.stringify(['layer at', url, size, validator ?? null]));
}

/**
 * Opens the very version that `name` was given to; another is never read from.
 * @throws SiphonError `corrupt` where there is another by now, also later when reading; `unsupported` where versions
 * cannot be told apart; as openOrigin
 */
export async function openLocation(
  origin: LayerOrigin,
  name: Digest,
  options: Partial<OpenOriginOptions>,
): Promise<BlobSource> {
  switch (origin.kind) {
    case 'file':
      return openFile(origin.path, name);
    case 'url':
      return openUrl(origin.url, name, options);
    case 'registry':
      throw new SiphonError('internal', `Cannot open layer "${name}": a registry's has a digest`);
  }
}

async function openFile(path: string, name: Digest): Promise<BlobSource> {
  const file = await FileBlob.open(path);
  const check = async (): Promise<void> => {
    if ((await nameOfFile(path)) !== name) throw changed(path);
  };
  const read: BlobSource['read'] = async (offset, length, signal) => {
    const bytes = await file.read(offset, length, signal);
    await check();
    return bytes;
  };
  const stream: BlobSource['stream'] = async function* (signal, from) {
    yield* file.stream(signal, from);
    await check();
  };
  return { name: path, size: file.size, local: true, read, stream, close: () => file.close() };
}

/** A client of HTTP binds each of its answers to the version it has opened. */
async function openUrl(
  url: string,
  name: Digest,
  options: Partial<OpenOriginOptions>,
): Promise<BlobSource> {
  const blob = await openUrlBlob(url, options);
  const problem =
    blob.validator === undefined
      ? new SiphonError(
          'unsupported',
          `Cannot read "${blob.name}" in parts: its server does not say which version it sends, expected an ETag or Last-Modified header`,
        )
      : nameOfUrl(url, blob) === name
        ? undefined
        : changed(blob.name);
  if (problem === undefined) return blob;
  await blob.close();
  throw problem;
}

function changed(name: string): SiphonError {
  return new SiphonError(
    'corrupt',
    `Cannot read "${name}": it is not the version whose headers were read, expected that one`,
    { hint: 'Mount it again.' },
  );
}
