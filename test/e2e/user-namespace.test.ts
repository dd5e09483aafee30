/** Snapshots for containers in user namespaces, as containerd 2 asks for and mounts them. */

import { execFile } from 'node:child_process';
import { status } from '@grpc/grpc-js';
import { lstat, mkdir, readFile, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { MNT, umount } from '#src/ffi/libc.js';
import { layerLabels } from '../support/layer-labels.js';
import { type BuiltImage, buildLayout, dir, file } from '../support/images.js';
import { mountIdmapped, openUserNamespace } from '../support/idmapped.js';
import { mounted } from '../support/mounted.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';

const run = promisify(execFile);
const prefix = 'containerd.io/snapshot';
const first = 200_000;
const mapping = {
  [`${prefix}/uidmapping`]: `0:${first}:65536`,
  [`${prefix}/gidmapping`]: `0:${first}:65536`,
};
const [major = 0, minor = 0] = release().split('.').map(Number);
const isOld = major < 6 || (major === 6 && minor < 12);

let sandbox: Sandbox;
let image: BuiltImage;
let registry: Awaited<ReturnType<typeof serveLayout>>;
let siphon: SiphonService;
let snapshots: Snapshots;

beforeAll(async () => {
  sandbox = await openSandbox();
  const layout = await sandbox.folder('layout');
  const owned = { uid: 7, gid: 8, mode: 0o640 };
  image = await buildLayout(layout, {
    tag: 'latest',
    layers: [[dir('etc'), file('etc/low', 'low', owned)], [file('high', 'high')]],
  });
  registry = await serveLayout({ layout });
  const config = join(sandbox.directory, 'config.toml');
  await writeFile(config, 'remap_ids = true\nsmallest_lazy_layer = 0\n');
  siphon = await startSiphonService(sandbox, '--config', config);
  snapshots = connectSnapshots({ address: siphon.address, snapshotter: '', namespace: 'test' });
  let parent = '';
  for (const { digest } of image.layers) {
    const labels = layerLabels({ target: digest, image: `${registry.host}/app:latest`, digest });
    await expect(snapshots.prepare(`pull ${digest}`, parent, labels)).rejects.toMatchObject({
      code: status.ALREADY_EXISTS,
    });
    parent = digest;
  }
}, 60_000);

afterAll(async () => {
  snapshots?.close();
  await siphon?.stop();
  await registry?.close();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
}, 60_000);

const top = (): string => image.layers.at(-1)?.digest ?? '';

describe('a snapshot with id mappings', () => {
  it("is owned by the container's root, and says how its layers are to be shown", async () => {
    const [mount] = await snapshots.prepare('mapped', top(), mapping);
    const options = mount?.options ?? [];
    expect(options.slice(0, 2)).toEqual([`uidmap=0:${first}:65536`, `gidmap=0:${first}:65536`]);
    expect(await snapshots.mounts('mapped')).toEqual([mount]);
    const upper = options.find((option) => option.startsWith('upperdir='))?.slice(9) ?? '';
    expect(await lstat(upper)).toMatchObject({ uid: first, gid: first });
    const [own] = await snapshots.prepare('own', '', mapping);
    expect(own?.options).toEqual(['rw', 'rbind']);
    expect(await lstat(own?.source ?? '')).toMatchObject({ uid: first, gid: first });
    await snapshots.remove('own');
  });

  it.skipIf(isOld)(
    `shows its lazy layers to the container as its own${isOld ? ' (needs Linux 6.12)' : ''}`,
    async () => {
      await using namespace = await openUserNamespace(first);
      const [mount] = await snapshots.prepare('shown', top(), mapping);
      const { source = '', options = [] } = mount ?? {};
      const lowers = options.at(-1)?.slice('lowerdir='.length).split(':') ?? [];
      for (const lower of lowers) expect(lower).toContain(join(sandbox.root, 'fuse'));
      const shown = await Promise.all(
        lowers.map(async (lower, at) => {
          const target = join(sandbox.directory, `idmapped-${at}`);
          await mkdir(target);
          mountIdmapped(lower, target, namespace);
          return target;
        }),
      );
      try {
        const rest = options.filter((option) => !/^(?:uidmap|gidmap|lowerdir)=/.test(option));
        const overlay = {
          type: 'overlay',
          source,
          options: [...rest, `lowerdir=${shown.join(':')}`],
        };
        await mounted([overlay], async (root) => {
          expect(await lstat(join(root, 'etc/low'))).toMatchObject({
            uid: first + 7,
            gid: first + 8,
          });
          expect(await readFile(join(root, 'etc/low'), 'utf8')).toBe('low');
          // The container's root, without any right outside its user namespace.
          const script = 'cat high; echo more >> etc/low; stat -c %u:%g etc/low; echo new > new';
          const own = ['--target', `${namespace.pid}`, '--user', '--setuid', '0', '--setgid', '0'];
          const { stdout } = await run('nsenter', [...own, 'sh', '-c', script], { cwd: root });
          expect(stdout).toBe('high7:8\n');
          expect(await lstat(join(root, 'new'))).toMatchObject({ uid: first, gid: first });
        });
      } finally {
        for (const target of shown) umount(target, MNT.DETACH);
      }
    },
  );

  it('is refused where its labels mean nothing', async () => {
    const broken = { ...mapping, [`${prefix}/uidmapping`]: 'all' };
    await expect(snapshots.prepare('broken', top(), broken)).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
    await expect(snapshots.stat('broken')).rejects.toMatchObject({ code: status.NOT_FOUND });
  });
});
