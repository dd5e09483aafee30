/** An image whose layers hold one of everything that unpackers do differently. */

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type Digest, type DiffId, digestOf } from '#src/common/digest.js';
import { LayoutBuilder } from '../../support/oci-layout.js';
import { type TarPiece, dir, file, hardlink, tarOf } from '../../index/support/tar-bytes.js';

export interface TrickyImage {
  layout: string;
  /** As a siphon source. */
  source: string;
  manifest: Digest;
  /** Bottom first. */
  layers: { blob: Buffer; diffId: DiffId }[];
}

const at = (mtime: number): { mtime: number } => ({ mtime });
const note = (text: string): { pax: Record<string, string> } => ({
  pax: { 'SCHILY.xattr.user.note': text },
});
const CAPABILITY = Buffer.from('0100000200040000000000000000000000000000', 'hex').toString(
  'latin1',
);

const BASE: TarPiece[] = [
  dir('./', { mode: 0o755, mtime: 100 }),
  dir('usr', at(1)),
  dir('usr/bin', at(2)),
  file('usr/bin/tool', 'tool', { mode: 0o4755, mtime: 3 }),
  file('usr/bin/ping', 'ping', {
    mode: 0o755,
    mtime: 4,
    pax: { 'SCHILY.xattr.security.capability': CAPABILITY },
  }),
  { path: 'bin', type: '2', linkPath: 'usr/bin', mtime: 5 },
  dir('etc', { mtime: 6, ...note('base') }),
  file('etc/conf', 'base', { mode: 0o640, uid: 10, gid: 20, mtime: 7 }),
  hardlink('etc/conf.link', 'etc/conf', { mode: 0o640, uid: 10, gid: 20, mtime: 7 }),
  file('etc/gone', 'x', at(8)),
  dir('srv', { mode: 0o2775, gid: 30, mtime: 9 }),
  file('srv/old', 'x', { gid: 30, mtime: 10 }),
  dir('srv/kept', { gid: 30, mtime: 11 }),
  file('srv/kept/old', 'x', at(12)),
  dir('obsolete', at(13)),
  file('obsolete/file', 'x', at(14)),
  dir('turns', at(15)),
  file('turns/inner', 'x', at(16)),
  file('becomes', 'a folder', at(17)),
  dir('tmp', { mode: 0o1777, mtime: 18 }),
  { path: 'tmp/fifo', type: '6', mode: 0o600, mtime: 19 },
  { path: 'tmp/zero', type: '3', mode: 0o666, major: 1, minor: 5, uid: 3, mtime: 20 },
  dir('deep', { mode: 0o711, mtime: 21 }),
  dir('deep/er', { mode: 0o710, uid: 8, mtime: 22 }),
  file('deep/er/file', 'x', at(23)),
];

const CHANGES: TarPiece[] = [
  dir('etc', { mode: 0o750, mtime: 30 }),
  file('etc/.wh.gone'),
  file('etc/conf', 'changed', { mode: 0o600, mtime: 31 }),
  dir('srv', { mode: 0o755, mtime: 32 }),
  file('srv/new', 'x', at(33)),
  file('srv/.wh..wh..opq'),
  dir('srv/kept', at(34)),
  file('.wh.obsolete'),
  file('turns', 'a file now', at(35)),
  dir('becomes', at(36)),
  file('becomes/inner', 'x', at(37)),
  file('latin-\xe9', 'x', at(38)),
  file('times', 'x', { pax: { mtime: '1700000000.123456789' } }),
];

const TOP: TarPiece[] = [
  file('usr/bin/second', '2', { mode: 0o755, mtime: 40 }),
  hardlink('usr/bin/third', 'usr/bin/second', { mode: 0o755, mtime: 40 }),
  // Folders that this layer needs and does not list.
  file('deep/er/new', 'x', at(41)),
  dir('obsolete', at(42)),
  file('obsolete/again', 'x', at(43)),
];

/** Writes it as an OCI layout with the tag `latest`, and packs that as `archive`. */
export async function writeTrickyImage(folder: string): Promise<TrickyImage & { archive: string }> {
  const layout = join(folder, 'layout');
  const builder = await LayoutBuilder.create(layout);
  const layers = [BASE, CHANGES, TOP].map((pieces) => {
    const tar = tarOf(...pieces);
    return { blob: gzipSync(tar), diffId: digestOf(tar) as DiffId };
  });
  const descriptors = await Promise.all(
    layers.map(({ blob }) => builder.blob(blob, 'application/vnd.oci.image.layer.v1.tar+gzip')),
  );
  const config = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  };
  const mediaType = 'application/vnd.oci.image.config.v1+json';
  const manifest = await builder.manifest(
    { config: await builder.blob(JSON.stringify(config), mediaType), layers: descriptors },
    { tag: 'latest' },
  );
  const archive = join(folder, 'image.tar');
  execFileSync('tar', ['-C', layout, '-cf', archive, 'oci-layout', 'index.json', 'blobs']);
  return { layout, source: `oci:${layout}:latest`, manifest: manifest.digest, layers, archive };
}
