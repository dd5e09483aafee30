/** An image in an OCI layout: a folder, which can take artifacts in, or an archive of one. */

import { stat } from 'node:fs/promises';
import type { BlobSource } from '../common/blob-source.js';
import type { Digest } from '../common/digest.js';
import { SiphonError, errorCode, errorMessage } from '../common/errors.js';
import { FileBlob } from '../common/file-blob.js';
import { type Logger, silentLogger } from '../common/log.js';
import type { Descriptor } from '../remote/descriptor.js';
import { openArchive } from './archive-files.js';
import type { ContentStore } from './content-store.js';
import { hashSlice } from './file-digest.js';
import { folderFiles } from './file-set.js';
import type { Artifact, ImageHome } from './image-home.js';
import { type LayerOrigin, foreignUrl, openOrigin } from './layer-origin.js';
import { OciLayout, wrongDigest } from './layout.js';
import { writeArtifact } from './layout-writer.js';
import { type Source, formatSource } from './source.js';
import { streamAndClose } from './stream-blob.js';

export type LayoutSource = Extract<Source, { kind: 'oci-layout' | 'oci-archive' }>;

export interface LayoutHomeOptions {
  store: ContentStore;
  signal: AbortSignal;
  log?: Logger | undefined;
}

export class LayoutHome implements ImageHome {
  readonly name: string;
  readonly store: ContentStore;
  readonly #source: LayoutSource;
  readonly #layout: OciLayout;
  readonly #log: Logger;

  private constructor(source: LayoutSource, layout: OciLayout, options: LayoutHomeOptions) {
    this.name = formatSource(source);
    this.store = options.store;
    this.#source = source;
    this.#layout = layout;
    this.#log = options.log ?? silentLogger;
  }

  /** @throws SiphonError `not-found` where there is no layout; as openArchive */
  static async open(source: LayoutSource, options: LayoutHomeOptions): Promise<LayoutHome> {
    const isArchive = source.kind === 'oci-archive';
    if (!isArchive) await requireFolder(source.path);
    const files = isArchive ? await openArchive(source.path, options) : folderFiles(source.path);
    return new LayoutHome(source, await OciLayout.open(files, options.signal), options);
  }

  resolve(signal: AbortSignal): Promise<Descriptor> {
    return this.#layout.resolve(this.#source.ref, signal);
  }

  readDocument(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    return this.#layout.read(descriptor, signal);
  }

  readManifest(digest: Digest, signal: AbortSignal): Promise<Buffer> {
    return this.#layout.read({ digest }, signal);
  }

  async readBlob(descriptor: Descriptor, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const slice = await this.#layout.locate(descriptor);
    const actual = await hashSlice(slice, signal);
    if (actual !== descriptor.digest) throw wrongDigest(descriptor.digest, this.name, actual);
    return streamAndClose(await FileBlob.open(slice.path, slice), signal);
  }

  async openBlob(descriptor: Descriptor, signal: AbortSignal): Promise<BlobSource> {
    return openOrigin(await this.origin(descriptor), descriptor, { signal });
  }

  /** A layer that must not be distributed lies elsewhere: its descriptor names the place. */
  async origin(descriptor: Descriptor): Promise<LayerOrigin> {
    const url = foreignUrl(descriptor);
    try {
      const { path, offset } = await this.#layout.locate(descriptor);
      return { kind: 'file', path, ...(offset === 0 ? {} : { offset }) };
    } catch (error) {
      if (errorCode(error) !== 'not-found' || url === undefined) throw error;
      return { kind: 'url', url };
    }
  }

  referrers(subject: Digest, artifactType: string, signal: AbortSignal): Promise<Descriptor[]> {
    return this.#layout.referrers(subject, artifactType, {
      signal,
      onBroken: (error, artifact) => {
        const fields = { image: this.name, artifact, reason: errorMessage(error) };
        this.#log.warn(fields, 'manifest in the layout ignored');
      },
    });
  }

  async push(artifact: Artifact, signal: AbortSignal): Promise<void> {
    if (this.#source.kind === 'oci-archive') {
      throw new SiphonError(
        'unsupported',
        `Cannot write to "${this.name}": it is an archive, expected a registry or an OCI layout folder`,
      );
    }
    await writeArtifact(this.#source.path, artifact, {
      pathOf: ({ digest }) => this.store.path(digest),
      signal,
    });
  }

  async close(): Promise<void> {}
}

async function requireFolder(path: string): Promise<void> {
  const stats = await stat(path).catch(() => undefined);
  if (stats?.isDirectory()) return;
  throw stats === undefined
    ? new SiphonError(
        'not-found',
        `Cannot open OCI layout "${path}": there is no such folder, expected one`,
      )
    : new SiphonError('invalid', `Cannot open OCI layout "${path}": it is not a folder`, {
        hint: 'An archive of a layout is named oci-archive:FILE.',
      });
}
