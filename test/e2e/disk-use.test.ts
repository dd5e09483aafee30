/** What lazy images take on the disk, and that it comes back when they are removed. */

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLayout } from '#src/content/layout-writer.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import {
  type Containerd,
  containerdMissing,
  startContainerd,
} from '../../bench/programs/containerd.js';
import { buildLayout, file, noise } from '../support/images.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';

const missing = containerdMissing();
let sandbox: Sandbox;
let layout: string;
let registry: LayoutServer;
let siphon: SiphonService;

beforeEach(async () => {
  sandbox = await openSandbox();
  layout = await sandbox.folder('layout');
  await createLayout(layout);
  registry = await serveLayout({ layout });
}, 60_000);

afterEach(async () => {
  await siphon?.stop();
  await registry?.close();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
}, 60_000);

/** Bytes on disk, and the files: without databases, locks and folders, which stay. */
async function onDisk(root: string): Promise<{ bytes: number; files: string[] }> {
  const bytes = Number((await must('du', '-s', '-B1', root)).split('\t')[0]);
  const found = await must('find', root, '-type', 'f', '-not', '-name', '*.db*');
  return { bytes, files: found.split('\n').toSorted() };
}

describe.skipIf(missing !== undefined)(`lazy images ${missing ?? ''}`, () => {
  it('leave nothing on the disk when the last image that needs them is removed', async () => {
    siphon = await startSiphonService(sandbox, '--config', await lazyConfig());
    // Databases have their tables, and their logs are folded in.
    await siphon.stop();
    const before = await onDisk(sandbox.root);
    siphon = await startSiphonService(sandbox, '--config', await lazyConfig());
    const common = [file('common', noise(3_000_000, 'common'))];
    for (const tag of ['one', 'two'])
      await buildLayout(layout, { tag, layers: [common, [file(tag, noise(1_000_000, tag))]] });
    const containerd: Containerd = await startContainerd({
      snapshotters: { siphon: siphon.address },
    });
    const reference = (tag: string): string => `${registry.host}/app:${tag}`;
    try {
      const { ctr, ctrRemote } = containerd;
      for (const tag of ['one', 'two']) {
        const options = ['--snapshotter', 'siphon', '--plain-http'];
        await ctrRemote(['images', 'rpull', ...options, reference(tag)]);
      }
      const fuse = join(sandbox.root, 'fuse');
      const layers = (await readdir(fuse)).map(Number).toSorted((a, b) => a - b);
      expect(layers).toHaveLength(3);
      expect(await readFile(join(fuse, String(layers[0]), 'common'))).toHaveLength(3_000_000);
      expect((await onDisk(sandbox.root)).bytes).toBeGreaterThan(before.bytes + 8_000_000);
      await ctr(['images', 'rm', '--sync', reference('one')]);
      // Another collection of containerd's may be at it.
      await expect.poll(() => readdir(fuse)).toHaveLength(2);
      await ctr(['images', 'rm', '--sync', reference('two')]);
      await expect.poll(() => readdir(fuse)).toEqual([]);
    } finally {
      await containerd.close();
    }
    await siphon.stop();
    const after = await onDisk(sandbox.root);
    expect(after.files).toEqual(before.files);
    // Databases keep their pages, folders theirs.
    expect(after.bytes - before.bytes).toBeLessThan(128 * 1024);
  }, 60_000);
});

async function lazyConfig(): Promise<string> {
  const path = join(await sandbox.folder('config'), 'siphon.toml');
  await writeFile(path, 'smallest_lazy_layer = 0\n');
  return path;
}
