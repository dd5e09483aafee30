/** `siphon serve` as the root of a user namespace only, as beside a rootless containerd. */

import { lstat, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isUserNamespace } from '#src/common/user-namespace.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { layerLabels } from '../support/layer-labels.js';
import {
  type BuiltImage,
  buildLayout,
  dir,
  file,
  noise,
  opaque,
  whiteout,
} from '../support/images.js';
import { mounted } from '../support/mounted.js';
import { type Sandbox, openSandbox, run } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';

const { error } = await run('unshare', ['-Urm', 'true']).then(
  ({ code }) => ({ error: code === 0 ? undefined : 'no user namespaces' }),
  () => ({ error: 'needs unshare' }),
);

describe.skipIf(isUserNamespace() || error !== undefined)(`rootless ${error ?? ''}`, () => {
  it('layers hide what is below them, lazy and unpacked', async () => {
    const tests = ['vitest', 'run', 'test/e2e/rootless.test.ts'];
    const inside = await run('unshare', ['-Urm', 'npx', ...tests]);
    expect(inside, inside.stdout + inside.stderr).toMatchObject({ code: 0 });
  }, 120_000);
});

describe.runIf(isUserNamespace())('in a user namespace', () => {
  let sandbox: Sandbox;
  let image: BuiltImage;
  let registry: LayoutServer;
  let siphon: SiphonService;
  let snapshots: Snapshots;

  beforeAll(async () => {
    sandbox = await openSandbox();
    const layout = await sandbox.folder('layout');
    const padding = (name: string) => file(name, noise(100_000, name));
    image = await buildLayout(layout, {
      tag: 'latest',
      layers: [
        [dir('cleared'), file('cleared/old'), dir('d'), file('d/gone'), file('d/kept', 'kept')],
        [dir('cleared'), opaque('cleared'), file('cleared/new'), dir('d'), whiteout('d/gone')],
        [dir('lazy'), file('lazy/old'), file('lazy/gone'), padding('one')],
        [dir('lazy'), whiteout('lazy/gone'), padding('two')],
        [dir('d2'), file('d2/below'), padding('three')],
        [dir('d2'), opaque('d2'), file('d2/above'), padding('four')],
      ],
    });
    registry = await serveLayout({ layout });
    const config = join(await sandbox.folder('config'), 'siphon.toml');
    await writeFile(config, 'smallest_lazy_layer = 50000\n');
    siphon = await startSiphonService(sandbox, '--config', config);
    const { address } = siphon;
    snapshots = connectSnapshots({ address, snapshotter: '', namespace: 'test' });
  }, 60_000);

  afterAll(async () => {
    snapshots?.close();
    await siphon?.stop();
    await registry?.close();
    await sandbox?.[Symbol.asyncDispose]();
  });

  it('shows an image whole', async () => {
    let parent = '';
    for (const [at, { digest }] of image.layers.entries()) {
      const name = `${registry.host}/app:latest`;
      const labels = layerLabels({ target: `layer-${at}`, image: name, digest });
      await expect(snapshots.prepare(`pull-${at}`, parent, labels), siphon.log()).rejects.toThrow(
        'already exists',
      );
      parent = `layer-${at}`;
    }
    const mounts = await snapshots.prepare('container', parent);
    expect(mounts[0]?.options).toContain('userxattr');
    expect(await sandbox.shownLayers()).toHaveLength(4);
    await mounted(mounts, async (root) => {
      expect(await readdir(join(root, 'cleared'))).toEqual(['new']);
      expect(await readdir(join(root, 'd'))).toEqual(['kept']);
      expect(await readdir(join(root, 'lazy'))).toEqual(['old']);
      expect(await readdir(join(root, 'd2'))).toEqual(['above']);
      await expect(lstat(join(root, 'lazy/gone'))).rejects.toThrow('ENOENT');
      await writeFile(join(root, 'd/kept'), 'changed');
      expect((await readFile(join(root, 'one'))).equals(noise(100_000, 'one'))).toBe(true);
    });
  }, 60_000);
});
