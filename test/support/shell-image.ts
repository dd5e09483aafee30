/**
 * A tiny image with a shell from this machine, as an OCI layout: enough to run a container that
 * prints. Its layers together show what overlay must get right: whiteouts, an opaque folder, owners.
 */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

const run = promisify(execFile);

export interface ShellImage {
  /** Folder of the OCI layout. */
  layout: string;
  /** The layout as a tar file, for `ctr images import`. */
  archive: string;
  /** Digests of the gzip layers, bottom first. */
  layers: string[];
}

/** What /bin/sh prints for {@link checkScript} where all layers are merged rightly. */
export const checkOutput = 'low high gone opaque-gone fresh\n';
export const checkScript =
  'read a </data/low; read b </data/high; ' +
  '[ -e /data/removed ] && c=there || c=gone; [ -e /folder/old ] && d=there || d=opaque-gone; ' +
  'read e </folder/new; echo "$a $b $c $d $e"';

/** Builds the image below `folder` with the tag `ref`. */
export async function buildShellImage(folder: string, ref = 'latest'): Promise<ShellImage> {
  const layout = join(folder, 'layout');
  await mkdir(join(layout, 'blobs/sha256'), { recursive: true });
  const bottom = await shellFiles();
  const layers = [
    await addLayer(layout, [
      ...bottom,
      text('data/low', 'low'),
      text('data/removed', 'x'),
      text('folder/old', 'x'),
    ]),
    await addLayer(layout, [text('data/high', 'high'), text('data/.wh.removed', '')]),
    await addLayer(layout, [text('folder/.wh..wh..opq', ''), text('folder/new', 'fresh')]),
  ];
  const config = await addBlob(layout, 'application/vnd.oci.image.config.v1+json', {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  });
  const manifest = await addBlob(layout, 'application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: layers.map(({ descriptor }) => descriptor),
  });
  const annotations = { 'org.opencontainers.image.ref.name': ref };
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations }] };
  await writeFile(join(layout, 'index.json'), JSON.stringify(index));
  await writeFile(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const archive = join(folder, 'image.tar');
  await run('tar', ['-C', layout, '-cf', archive, '.']);
  return { layout, archive, layers: layers.map(({ descriptor }) => descriptor.digest) };
}

interface File {
  path: string;
  /** Text, or a file of this machine to copy. */
  content: string | { from: string };
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

function text(path: string, content: string): File {
  return { path, content: content === '' ? '' : `${content}\n` };
}

/** The shell and what `ldd` says it needs. */
async function shellFiles(): Promise<File[]> {
  const { stdout } = await run('ldd', ['/bin/sh']);
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []);
  return ['/bin/sh', ...libraries].map((path) => ({
    path: path.slice(1),
    content: { from: path },
  }));
}

async function addLayer(
  layout: string,
  files: File[],
): Promise<{ descriptor: Descriptor; diffId: string }> {
  const folder = join(layout, 'layer');
  for (const { path, content } of files) {
    await mkdir(join(folder, dirname(path)), { recursive: true });
    if (typeof content === 'string') await writeFile(join(folder, path), content);
    else await copyFile(content.from, join(folder, path));
  }
  const tar = `${folder}.tar`;
  await run('tar', [
    '-C',
    folder,
    '--owner=0',
    '--group=0',
    '--mtime=@1000000000',
    '-cf',
    tar,
    '.',
  ]);
  const bytes = await readFile(tar);
  await rm(folder, { recursive: true });
  await rm(tar);
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
  return { descriptor: await addBlob(layout, mediaType, gzipSync(bytes)), diffId: sha256(bytes) };
}

async function addBlob(
  layout: string,
  mediaType: string,
  content: Buffer | object,
): Promise<Descriptor> {
  const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  const digest = sha256(bytes);
  await writeFile(join(layout, 'blobs/sha256', digest.slice('sha256:'.length)), bytes);
  return { mediaType, digest, size: bytes.length };
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
