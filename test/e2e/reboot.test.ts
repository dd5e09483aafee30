/**
 * `siphon serve` on the root that another life of the machine left: everything was killed, no mount is there (or
 * a dead one), no registry answers, and one image cannot be restored.
 */

import { open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startContainerd } from '../../bench/programs/containerd.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Digest, digestHex } from '#src/common/digest.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { writeSmallLayout } from '../support/demo-layout.js';
import { buildLayout, file } from '../support/images.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { fuseMissing } from '../support/served-folders.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';
import { type Tree, readTree } from '../support/tree.js';

const missing = fuseMissing();
/** Where the record of present spans says in which life of the machine it was written (src/index/span-cache.ts). */
const bootIdAt = 48;
/** Where SQLite's header has the format's version (sqlite.org/fileformat.html, section 1.3). */
const versionAt = 60;
const otherBoot = '01234567-89ab-cdef-0123-456789abcdef';

let sandbox: Sandbox;
let siphon: SiphonService;
let whole: string;
let other: string;
let otherDigest: Digest;
let isBroken = false;
let tree: Tree;

beforeAll(async () => {
  if (missing !== undefined) return;
  sandbox = await openSandbox();
  const { layout } = await writeSmallLayout(sandbox);
  const second = join(sandbox.directory, 'second');
  const { layers } = await buildLayout(second, {
    tag: 'latest',
    layers: [[file('name', 'other')]],
  });
  otherDigest = layers[0]!.digest; // it has one
  const registries = [await serveLayout({ layout }), await serveLayout({ layout: second })];
  siphon = await startSiphonService(sandbox);
  const containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
  try {
    for (const { host } of registries) {
      const name = `${host}/image:latest`;
      await containerd.ctrRemote(['i', 'rpull', '--snapshotter', 'siphon', '--plain-http', name]);
    }
  } finally {
    await containerd.close();
    for (const registry of registries) await registry.close();
  }
  await withClient(async (client) => {
    [whole = '', other = ''] = await Promise.all(registries.map(({ host }) => topOf(client, host)));
    tree = await treeOf(client, whole);
  });
}, 120_000);

afterAll(async () => {
  await siphon?.stop();
  await sandbox?.[Symbol.asyncDispose]();
}, 60_000);

async function withClient<T>(use: (client: Snapshots) => Promise<T>): Promise<T> {
  const client = connectSnapshots({
    address: siphon.address,
    snapshotter: 'siphon',
    namespace: 't',
  });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** The snapshot of the topmost layer of the image from `host`. */
async function topOf(client: Snapshots, host: string): Promise<string> {
  const all = await client.list();
  const own = all.filter(({ labels }) =>
    Object.values(labels).some((text) => text.startsWith(host)),
  );
  const parents = new Set(all.map(({ parent }) => parent));
  return own.find(({ name }) => !parents.has(name))?.name ?? '';
}

/** What a container of the snapshot would see. */
async function treeOf(client: Snapshots, name: string): Promise<Tree> {
  const target = await sandbox.folder('mnt');
  const [mount] = await client.view('looked-at', name);
  try {
    if (mount === undefined) throw new Error('there is no mount');
    const { type, source, options } = mount;
    await must('mount', '-t', type, '-o', options.join(','), source, target);
    return await readTree(target);
  } finally {
    await must('sh', '-c', 'umount "$1" 2>/dev/null; :', 'sh', target);
    await client.remove('looked-at');
  }
}

async function names(): Promise<string[]> {
  return withClient(async (client) => (await client.list()).map(({ name }) => name));
}

async function unmountAll(): Promise<void> {
  for (const path of (await sandbox.mounts()).toReversed()) await must('umount', '-l', path);
}

async function layerFolders(): Promise<string[]> {
  const folder = join(sandbox.root, 'layers');
  const all = await readdir(folder);
  return all.filter((name) => /^\d+$/.test(name)).map((name) => join(folder, name));
}

/** What is said to be present was written before the machine went down. */
async function changeBoot(): Promise<void> {
  for (const folder of await layerFolders()) {
    const present = await open(join(folder, 'present'), 'r+');
    await present.write(otherBoot, bootIdAt, 'latin1');
    await present.close();
  }
}

/** No blob is left of the other image's layer, and no index that can be read. */
async function breakOther(change: (index: Buffer) => Buffer): Promise<void> {
  for (const folder of await layerFolders()) {
    const description = await readFile(join(folder, 'layer.json'), 'utf8');
    const index = join(folder, 'index.db');
    if (description.includes(otherDigest)) await writeFile(index, change(await readFile(index)));
  }
  await rm(join(sandbox.root, 'content/blobs/sha256', digestHex(otherDigest)), { force: true });
  isBroken = true;
}

function ofVersion2(index: Buffer): Buffer {
  index.writeUInt32BE(2, versionAt);
  return index;
}

describe.skipIf(missing !== undefined)(`siphon serve (${missing ?? 'without a registry'})`, () => {
  it.each([
    ['after a reboot', async () => (await unmountAll(), await changeBoot())],
    [
      'after a reboot, with an image whose index is of another version',
      async () => (await unmountAll(), await breakOther(ofVersion2)),
    ],
    [
      'after a reboot, with an image that cannot be restored',
      async () => (await unmountAll(), await breakOther(() => Buffer.from('of no use'))),
    ],
    ['after its keeper was killed, with dead mounts', () => Promise.resolve()],
    [
      'on a copy of its root',
      async () => {
        await unmountAll();
        const copy = 'mv "$1" "$1.old" && cp -a --sparse=always "$1.old" "$1" && rm -r "$1.old"';
        await must('sh', '-c', copy, 'sh', sandbox.root);
      },
    ],
  ])(
    '%s restores every snapshot that it can',
    async (_, meanwhile) => {
      const before = await names();
      await siphon.stop('SIGKILL');
      await meanwhile();
      siphon = await startSiphonService(sandbox);
      expect(await names()).toEqual(before);
      const serving = (await sandbox.mounts()).filter((path) => path.startsWith(sandbox.root));
      expect(serving.toSorted()).toEqual(['fuse', 'xattr'].map((name) => join(sandbox.root, name)));
      await withClient(async (client) => {
        expect(await treeOf(client, whole)).toEqual(tree);
        if (!isBroken) return;
        await expect(client.view('of-other', other)).rejects.toThrow(/lazy layer/);
        expect(siphon.log().match(/lazy layer is not restored/g)).toHaveLength(1);
      });
    },
    60_000,
  );
});
