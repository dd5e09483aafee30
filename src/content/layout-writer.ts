/** Writing to an OCI layout folder: blobs first, then whatever refers to them, each file atomically. */

import { createReadStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { temporaryName, writeFileAtomic } from '../common/atomic-file.js';
import { SiphonError } from '../common/errors.js';
import { fileExists } from '../common/file-exists.js';
import { type Descriptor, describe, mediaTypes } from '../remote/descriptor.js';
import { type ImageIndex, parseImageIndex } from '../remote/manifest.js';
import { folderFiles, readSmallFile } from './file-set.js';
import type { Artifact } from './image-home.js';
import { Ingest } from './ingest.js';
import {
  OciLayout,
  blobFile,
  indexFile,
  layoutFile,
  layoutVersion,
  referrersTag,
  refAnnotation,
} from './layout.js';

/** Others must be able to read a layout: it is there to be handed on. */
const FILE_MODE = 0o644;
const emptyIndex = encodeIndex([]);

/** Makes an empty layout, unless there is one. @throws the system error where that fails */
export async function createLayout(folder: string): Promise<void> {
  await mkdir(join(folder, 'blobs', 'sha256'), { recursive: true });
  if (!(await fileExists(join(folder, indexFile)))) await writeIndex(folder, emptyIndex);
  if (!(await fileExists(join(folder, layoutFile)))) {
    await writeFileAtomic(
      join(folder, layoutFile),
      JSON.stringify({ imageLayoutVersion: layoutVersion }),
      { mode: FILE_MODE },
    );
  }
}

/** Stores small bytes as a blob. */
export async function writeBlob(
  folder: string,
  bytes: Uint8Array,
  mediaType: string,
): Promise<Descriptor> {
  const descriptor = describe(bytes, mediaType);
  const path = join(folder, blobFile(descriptor.digest));
  if (!(await fileExists(path))) {
    await mkdir(dirname(path), { recursive: true });
    await writeFileAtomic(path, bytes, { mode: FILE_MODE });
  }
  return descriptor;
}

/** Copies the file at `from` into the layout as the blob it is said to be. @throws `corrupt` if not */
export async function copyBlob(
  folder: string,
  blob: Descriptor,
  options: { from: string; signal: AbortSignal },
): Promise<void> {
  const path = join(folder, blobFile(blob.digest));
  if (await fileExists(path)) return;
  await mkdir(dirname(path), { recursive: true });
  const copy = await Ingest.open(temporaryName(path), FILE_MODE);
  try {
    await copy.append(createReadStream(options.from), { signal: options.signal, total: blob.size });
    if (copy.digest() !== blob.digest) {
      throw new SiphonError('corrupt', `Cannot copy blob "${blob.digest}": the file has changed`);
    }
    await copy.commit(path);
  } catch (error) {
    await copy.discard();
    throw error;
  }
}

/**
 * Lists `entry` in `index.json`, in place of what had its reference name, or else of the same entry
 * without a name. The other entries stay as they are, fields that siphon does not know included.
 */
export async function listInIndex(
  folder: string,
  entry: Descriptor,
  signal: AbortSignal,
): Promise<void> {
  const bytes = (await readSmallFile(folderFiles(folder), indexFile, signal)) ?? emptyIndex;
  const parsed = parseImageIndex(bytes, join(folder, indexFile)).manifests;
  // It has just been parsed: it is an object with as many manifests.
  const document = JSON.parse(bytes.toString('utf8')) as { manifests: unknown[] };
  const others = document.manifests.filter((_, at) => !isReplaced(parsed[at], entry));
  const manifests = [...others, entry];
  if (sortedEntries(manifests) === sortedEntries(document.manifests)) return;
  await writeIndex(folder, Buffer.from(JSON.stringify({ ...document, manifests })));
}

function isReplaced(old: Descriptor | undefined, entry: Descriptor): boolean {
  if (old === undefined || refOf(old) !== refOf(entry)) return false;
  return refOf(entry) !== undefined || old.digest === entry.digest;
}

/**
 * Puts an artifact beside its subject, to be found in both ways: as an entry of `index.json`, and through
 * the referrers tag, which tools that copy images by tag take along. Again changes nothing.
 * @param pathOf where a blob of the artifact lies
 */
export async function writeArtifact(
  folder: string,
  artifact: Artifact,
  options: { pathOf: (blob: Descriptor) => string; signal: AbortSignal },
): Promise<void> {
  const { descriptor, artifactType, subject, blobs, manifest } = artifact;
  const { signal } = options;
  for (const blob of blobs) {
    await copyBlob(folder, blob, { from: options.pathOf(blob), signal });
  }
  await writeBlob(folder, manifest, descriptor.mediaType);
  const layout = await OciLayout.open(folderFiles(folder), signal);
  const others = await layout.referrers(subject.digest, artifactType, { signal });
  const entry = { ...descriptor, artifactType };
  const isKnown = others.some(({ digest }) => digest === descriptor.digest);
  const tagged = encodeIndex(isKnown ? others : [...others, entry]);
  const tag = await writeBlob(folder, tagged, mediaTypes.ociIndex);
  const ref = { [refAnnotation]: referrersTag(subject.digest) };
  await listInIndex(folder, entry, signal);
  await listInIndex(folder, { ...tag, annotations: ref }, signal);
}

function refOf(entry: Descriptor): string | undefined {
  return entry.annotations?.[refAnnotation];
}

function sortedEntries(manifests: unknown[]): string {
  return JSON.stringify(manifests.map((entry) => JSON.stringify(entry)).toSorted());
}

async function writeIndex(folder: string, bytes: Buffer): Promise<void> {
  await writeFileAtomic(join(folder, indexFile), bytes, { mode: FILE_MODE });
}

function encodeIndex(manifests: Descriptor[]): Buffer {
  const index: ImageIndex = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  return Buffer.from(JSON.stringify(index));
}
