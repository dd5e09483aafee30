/** `siphon serve` on a root that something is wrong with, with a containerd that goes on living. */

import { readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Sqlite } from '#src/common/sqlite.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import {
  type Containerd,
  startContainerd,
  untilReconnected,
} from '../../bench/programs/containerd.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';

let sandbox: Sandbox;
let image: DemoLayout;
let registry: LayoutServer;
let siphon: SiphonService;
let containerd: Containerd;
let reference: string;

beforeAll(async () => {
  sandbox = await openSandbox();
  image = await writeSmallLayout(sandbox);
  registry = await serveLayout({ layout: image.layout });
  siphon = await startSiphonService(sandbox);
  containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
  reference = `${registry.host}/app:latest`;
  const { ctr, ctrRemote } = containerd;
  await ctrRemote(['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference]);
  // The same image unpacked, in a namespace of its own so that nothing is shared.
  await ctr(['--namespace', 'unpacked', 'images', 'pull', ...pullOptions, reference]);
  await ctr(['run', '-d', '--snapshotter', 'siphon', reference, 'living', 'sleep', '1000']);
}, 120_000);

const pullOptions = ['--snapshotter', 'siphon', '--plain-http'];

afterAll(async () => {
  await containerd
    ?.ctr(['--namespace', 'unpacked', 'images', 'rm', '--sync', reference])
    .catch(() => '');
  await containerd?.close();
  await siphon?.stop();
  await registry?.close();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
}, 60_000);

/** By its exit code, which comes through more surely than what it prints. */
async function expectImageToRun(...options: string[]): Promise<void> {
  const script = 'test "$(ls /app/words | wc -l)" = 5';
  const args = ['run', '--rm', '--snapshotter', 'siphon', reference, 'test', 'sh', '-c', script];
  await containerd.ctr([...options, ...args]);
}

async function snapshotNames(): Promise<string[]> {
  const { stdout } = await containerd.ctr(['snapshots', '--snapshotter', 'siphon', 'ls']);
  return stdout.split('\n');
}

async function keptAside(): Promise<string[]> {
  const names = await readdir(sandbox.root);
  return names.filter((name) => name.startsWith('damaged-')).toSorted();
}

type Damage = (path: string) => Promise<void>;

const damages: [string, Damage][] = [
  ['overwritten', (path) => writeFile(path, 'no database at all '.repeat(500))],
  ['cut short', (path) => truncate(path, 5_000)],
  ['emptied', (path) => truncate(path, 0)],
  [
    'with other tables',
    (path) => {
      const database = new Sqlite(path);
      database.pragma('foreign_keys = OFF');
      for (const table of ['snapshots', 'layer', 'holder'])
        database.exec(`DROP TABLE IF EXISTS ${table}`);
      database.close();
      return Promise.resolve();
    },
  ],
];

const files = ['metadata.db', 'layers/layers.db'];

describe('siphon serve with damaged databases', () => {
  it.each(damages)(
    '%s: they are kept aside and rebuilt, and nothing is lost',
    async (_, damage) => {
      const before = await snapshotNames();
      const known = await keptAside();
      expect(await siphon.stop()).toBe(0);
      for (const file of files) await damage(join(sandbox.root, file));
      siphon = await startSiphonService(sandbox);
      await untilReconnected(containerd, 'siphon');
      const aside = (await keptAside()).filter((name) => !known.includes(name));
      const kept = await Promise.all(aside.map((name) => readdir(join(sandbox.root, name))));
      expect(kept.flat()).toEqual(expect.arrayContaining(['metadata.db', 'layers.db']));
      for (const name of aside)
        expect(siphon.log()).toContain(`it is kept in \\"${join(sandbox.root, name)}\\"`);
      expect(await snapshotNames()).toEqual(before);
      await expectImageToRun();
      await expectImageToRun('--namespace', 'unpacked');
      expect(siphon.log()).not.toContain('is lost');
    },
    60_000,
  );

  it.each(files)('leaves %s of a newer siphon as it is, and refuses', async (file) => {
    await siphon.stop();
    const path = join(sandbox.root, file);
    const version = changeVersion(path, 999);
    const before = await readFile(path);
    const refused = await sandbox.siphon('serve', '--address', join(sandbox.directory, 'x.sock'));
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toMatch(/it has version 999, expected at most \d/);
    expect(await readFile(path)).toEqual(before);
    changeVersion(path, version);
    siphon = await startSiphonService(sandbox);
  });
});

/** @returns the version before */
function changeVersion(path: string, version: number): number {
  const database = new Sqlite(path);
  const before = Number(database.pragma('user_version', { simple: true }));
  database.pragma(`user_version = ${version}`);
  database.close();
  return before;
}

describe('a second siphon serve', () => {
  it('on the same root is refused, and takes nothing from the first', async () => {
    const args = ['serve', '--address', join(sandbox.directory, 'second.sock')];
    const refused = await sandbox.siphon(...args);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain('another siphon serve has it');
    expect(await sandbox.mounts()).toContain(join(sandbox.root, 'fuse'));
    await untilReconnected(containerd, 'siphon');
    await expectImageToRun();
  });
});
