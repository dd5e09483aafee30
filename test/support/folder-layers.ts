/** Lazy layers without anything lazy: plain folders, one for each digest. For tests of the snapshotter. */

import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type Digest, digestHex } from '#src/common/digest.js';
import { SiphonError } from '#src/common/errors.js';
import type {
  LazyLayerRequest,
  LazyLayers,
  PreparedLayer,
  RootAttributes,
  UnpackPlace,
} from '#src/snapshotter/lazy-layers.js';

const run = promisify(execFile);

export class FolderLayers implements LazyLayers {
  /** What happened, in order: `prepare 1`, `restore 1`, `release 1`. */
  readonly calls: string[] = [];
  readonly requests: LazyLayerRequest[] = [];
  /** Runs first in each prepare; throws to make it fail. */
  beforePrepare: (request: LazyLayerRequest) => Promise<void> = () => Promise.resolve();
  beforeRestore: (number: number) => Promise<void> = () => Promise.resolve();
  /** Digests of layers that are files, not lazy: one file, named `layer`, with the digest in it. */
  readonly files = new Set<Digest>();
  readonly places: UnpackPlace[] = [];
  beforeUnpack: (request: LazyLayerRequest) => Promise<void> = () => Promise.resolve();
  readonly #root: string;
  readonly #digests: Digest[] = [];

  /** @param root the folder of layer n is `<root>/<n>` */
  constructor(root: string) {
    this.#root = root;
  }

  sweep(): Promise<void> {
    return Promise.resolve();
  }

  async prepare(request: LazyLayerRequest): Promise<PreparedLayer> {
    this.requests.push(request);
    await this.beforePrepare(request);
    if (this.files.has(request.layerDigest))
      return { kind: 'files', reason: { reason: 'small', detail: 'a test' } };
    const number = this.numberOf(request.layerDigest);
    this.calls.push(`prepare ${number}`);
    await mkdir(this.path(number), { recursive: true });
    return { kind: 'lazy', number, path: this.path(number) };
  }

  async unpack(request: LazyLayerRequest, place: UnpackPlace): Promise<void> {
    this.places.push(place);
    await writeFile(join(place.target, 'layer'), request.layerDigest);
    await this.beforeUnpack(request);
    this.calls.push(`unpack ${this.numberOf(request.layerDigest)}`);
  }

  async restore(number: number): Promise<{ path: string }> {
    await this.beforeRestore(number);
    this.calls.push(`restore ${number}`);
    return { path: this.path(number) };
  }

  path(number: number): string {
    return join(this.#root, String(number));
  }

  above(): string[] {
    return [];
  }

  root(number: number): RootAttributes {
    return statSync(this.path(number));
  }

  writeImplied(): Promise<void> {
    return Promise.resolve();
  }

  usage(number: number): Promise<{ size: number; inodes: number }> {
    return Promise.resolve({ size: number * 1000, inodes: number });
  }

  async release(number: number): Promise<void> {
    this.calls.push(`release ${number}`);
    await rm(this.path(number), { recursive: true, force: true });
  }

  /** The same digest has the same number always. */
  numberOf(digest: Digest): number {
    const known = this.#digests.indexOf(digest);
    return known === -1 ? this.#digests.push(digest) : known + 1;
  }

  /** Fills a layer's folder from its gzip tar in an OCI layout, with whiteouts in overlay's form. */
  async fillFrom(layout: string, digest: Digest): Promise<void> {
    const folder = this.path(this.numberOf(digest));
    await mkdir(folder, { recursive: true });
    await run('tar', ['-C', folder, '-xzf', join(layout, 'blobs/sha256', digestHex(digest))]);
    for (const name of await readdir(folder, { recursive: true })) {
      const marker = /(?:^|\/)\.wh\.([^/]+)$/.exec(name)?.[1];
      if (marker === undefined) continue;
      const parent = dirname(join(folder, name));
      await rm(join(folder, name));
      if (marker !== '.wh..opq') await run('mknod', [join(parent, marker), 'c', '0', '0']);
      else await run('setfattr', ['-n', 'trusted.overlay.opaque', '-v', 'y', parent]);
    }
  }
}

/** What lazy layers throw where they leave a layer to containerd. */
export function unsupportedLayer(): SiphonError {
  return new SiphonError('unsupported', 'Cannot serve layer: it is a test');
}
