/** Tars made in tests, unpacked into a folder that goes with the test. */

import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type UnpackOptions, type UnpackedLayer, unpackLayer } from '#src/unpack/unpack-layer.js';
import { type TarPiece, tarOf } from '../../index/support/tar-bytes.js';

/** Why nothing can be unpacked here, or `undefined`; for tests that skip. */
export function unpackingMissing(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'needs root';
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'siphon-unpack-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export async function* inPieces(blob: Buffer, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < blob.length; at += size) {
    await Promise.resolve();
    yield blob.subarray(at, at + size);
  }
}

export interface Unpacked {
  layer: UnpackedLayer;
  /** The folder that it was unpacked into. */
  target: string;
}

/** Unpacks into `target`, which is made where it is missing; default: a new folder. */
export async function unpackBytes(
  blob: Buffer,
  options: Partial<UnpackOptions> = {},
): Promise<Unpacked> {
  const { target = join(temporaryFolder(), 'root'), form = 'overlay', ...rest } = options;
  if (rest.fresh !== true && !existsSync(target)) mkdirSync(target);
  const layer = await unpackLayer({ source: inPieces(blob), target, form, ...rest });
  return { layer, target };
}

export function unpackPieces(
  pieces: readonly TarPiece[],
  options: Partial<UnpackOptions> = {},
): Promise<Unpacked> {
  return unpackBytes(tarOf(...pieces), options);
}

/** Every path below the folder in order, with its kind: `d a`, `f a/b`, `l a/c -> b`, `c dev 1:3`, `p fifo`. */
export function listing(folder: string, prefix = ''): string[] {
  return readdirSync(join(folder, prefix))
    .toSorted()
    .flatMap((name) => {
      const path = prefix === '' ? name : `${prefix}/${name}`;
      const below = lstatSync(join(folder, path)).isDirectory() ? listing(folder, path) : [];
      return [lineOf(folder, path), ...below];
    });
}

function lineOf(folder: string, path: string): string {
  const stat = lstatSync(join(folder, path));
  if (stat.isDirectory()) return `d ${path}`;
  if (stat.isSymbolicLink()) return `l ${path} -> ${readlinkSync(join(folder, path))}`;
  if (stat.isFIFO()) return `p ${path}`;
  if (stat.isCharacterDevice()) return `c ${path} ${stat.rdev >> 8}:${stat.rdev & 0xff}`;
  return `f ${path}`;
}
