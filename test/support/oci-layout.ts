/** Small OCI layouts, built by hand: blobs and manifests that need not be runnable images. */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestHex } from '#src/common/digest.js';
import { type Descriptor, describe, mediaTypes } from '#src/remote/descriptor.js';

const TAG_ANNOTATION = 'org.opencontainers.image.ref.name';

export class LayoutBuilder {
  readonly folder: string;
  readonly #entries: Descriptor[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(folder: string): Promise<LayoutBuilder> {
    await mkdir(join(folder, 'blobs/sha256'), { recursive: true });
    await writeFile(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
    const builder = new LayoutBuilder(folder);
    await builder.#writeIndex();
    return builder;
  }

  async blob(content: Uint8Array | string, mediaType: string): Promise<Descriptor> {
    const bytes = Buffer.from(content);
    const descriptor = describe(bytes, mediaType);
    await writeFile(this.path(descriptor), bytes);
    return descriptor;
  }

  async manifest(document: object, options: { tag?: string } = {}): Promise<Descriptor> {
    const mediaType = 'manifests' in document ? mediaTypes.ociIndex : mediaTypes.ociManifest;
    const text = JSON.stringify({ schemaVersion: 2, mediaType, ...document });
    const descriptor = await this.blob(text, mediaType);
    const annotations =
      options.tag === undefined ? {} : { annotations: { [TAG_ANNOTATION]: options.tag } };
    this.#entries.push({ ...descriptor, ...annotations });
    await this.#writeIndex();
    return descriptor;
  }

  path(descriptor: Descriptor): string {
    return join(this.folder, 'blobs/sha256', digestHex(descriptor.digest));
  }

  async read(descriptor: Descriptor): Promise<Buffer> {
    return readFile(this.path(descriptor));
  }

  async #writeIndex(): Promise<void> {
    const index = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociIndex,
      manifests: this.#entries,
    };
    await writeFile(join(this.folder, 'index.json'), JSON.stringify(index));
  }
}
