/**
 * Layers with extended attributes and layers without are shown by two mounts of one server, and merge as if
 * they were of one. Both outlive the server; a keeper of an older version has a descriptor for one alone.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { siphonProgram } from '../../bench/programs/siphon-program.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { layerLabels } from '../support/layer-labels.js';
import {
  type BuiltImage,
  buildLayout,
  dir,
  file,
  fileWithXattrs,
  noise,
  opaque,
  whiteout,
} from '../support/images.js';
import { mounted } from '../support/mounted.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { fuseMissing } from '../support/served-folders.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';
import { type Tree, readTree } from '../support/tree.js';

const missing = fuseMissing();
const big = noise(3_000_000, 'big');

/** A layer with attributes between two without. */
const entries = [
  [dir('a'), file('a/low', 'low'), file('a/gone', 'gone'), dir('o'), file('o/low', 'hidden')],
  [
    whiteout('a/gone'),
    opaque('o'),
    file('o/high', 'high'),
    fileWithXattrs('a/marked', 'marked', { 'user.mark': 'yes' }),
  ],
  [file('a/top', 'top'), file('big', big)],
];

let sandbox: Sandbox;
let image: BuiltImage;
let registry: LayoutServer;
let expected: Tree;

async function prepareAll(client: Snapshots, upTo = image.layers.length): Promise<string> {
  let parent = '';
  for (const [at, { digest }] of image.layers.slice(0, upTo).entries()) {
    const image = `${registry.host}/app:latest`;
    const labels = layerLabels({ target: `layer-${at}`, image, digest });
    const asked = client.prepare(`pull-${at}`, parent, labels);
    await asked.catch((error: unknown) => expect(String(error)).toContain('already exists'));
    parent = `layer-${at}`;
  }
  return parent;
}

function connect(address: string): Snapshots {
  return connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
}

async function killServerOf(keeper: number): Promise<void> {
  const children = await readFile(`/proc/${keeper}/task/${keeper}/children`, 'utf8');
  process.kill(Number(children.split(' ')[0]), 'SIGKILL');
}

async function mountNames(): Promise<string[]> {
  const below = (await sandbox.mounts()).filter((path) => path.startsWith(`${sandbox.root}/`));
  return below.map((path) => path.slice(sandbox.root.length + 1)).toSorted();
}

beforeAll(async () => {
  if (missing !== undefined) return;
  sandbox = await openSandbox();
  const layout = await sandbox.folder('layout');
  image = await buildLayout(layout, { tag: 'latest', layers: entries });
  registry = await serveLayout({ layout });
  const bundle = join(sandbox.directory, 'bundle');
  await must('umoci', 'unpack', '--image', `${layout}:latest`, bundle);
  expected = await readTree(join(bundle, 'rootfs'));
}, 60_000);

afterAll(async () => {
  await registry?.close();
  await sandbox?.[Symbol.asyncDispose]();
});

describe.skipIf(missing !== undefined)(`siphon mount (${missing ?? 'of both kinds'})`, () => {
  it('merges both, goes on after its server, and leaves neither', async () => {
    const target = await sandbox.folder('mnt');
    const source = `oci:${join(sandbox.directory, 'layout')}:latest`;
    const outcome = await sandbox.siphon('mount', source, target);
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    const [home = ''] = (await readdir(join(sandbox.root, 'mounts'))).filter(
      (name) => !name.endsWith('.json'),
    );
    expect(await mountNames()).toEqual([`mounts/${home}/fuse`, `mounts/${home}/xattr`]);
    expect(await readTree(target)).toEqual(expected);
    const [keeper = ''] = await readdir(join(sandbox.root, 'keepers'));
    await killServerOf(Number(keeper));
    await must('sh', '-c', 'echo 3 >/proc/sys/vm/drop_caches');
    const mark = [
      'getfattr',
      '--only-values',
      '-n',
      'user.mark',
      join(target, 'a/marked'),
    ] as const;
    expect(await must(...mark)).toBe('yes');
    expect(await must('cat', join(target, 'a/low'), join(target, 'o/high'))).toBe('lowhigh');
    const unmounted = await sandbox.siphon('umount', target);
    expect(unmounted, unmounted.stderr).toMatchObject({ code: 0 });
    expect(await sandbox.mounts()).toEqual([]);
  });
});

describe.skipIf(missing !== undefined)(`siphon serve (${missing ?? 'of both kinds'})`, () => {
  let siphon: SiphonService;
  let client: Snapshots;

  beforeAll(async () => {
    siphon = await startSiphonService(sandbox);
    client = connect(siphon.address);
  });

  afterAll(async () => {
    client?.close();
    await siphon?.stop();
  });

  it('has the second mount from the first layer that needs it on', async () => {
    expect(await mountNames()).toEqual(['fuse']);
    await prepareAll(client, 1);
    expect(await mountNames()).toEqual(['fuse']);
    const top = await prepareAll(client);
    expect(await mountNames()).toEqual(['fuse', 'xattr']);
    expect(await readdir(join(sandbox.root, 'fuse'))).toHaveLength(2);
    expect(await readdir(join(sandbox.root, 'xattr'))).toHaveLength(1);
    expect(await mounted(await client.view('looked-at', top), readTree)).toEqual(expected);
  });

  it.each(['SIGKILL', 'SIGUSR2'] as const)(
    'goes on with both, reads under way included, when its server gets %s',
    async (signal) => {
      await mounted(await client.mounts('looked-at'), async (root) => {
        await must('sh', '-c', 'echo 3 >/proc/sys/vm/drop_caches');
        const reading = must(
          'sh',
          '-c',
          'for n in 1 2 3 4 5; do cat "$1/big" | sha256sum; done',
          '',
          root,
        );
        const lives = (): number => siphon.log().split('going on with its mounts').length;
        const before = lives();
        if (signal === 'SIGKILL') await killServerOf(siphon.pid);
        else process.kill(siphon.pid, signal);
        expect(new Set((await reading).trim().split('\n')).size).toBe(1);
        expect(await readTree(root)).toEqual(expected);
        // The server before may have answered all of it, and what the next one says comes through a pipe.
        await expect.poll(lives).toBe(before + 1);
        await must('sh', '-c', 'echo 3 >/proc/sys/vm/drop_caches');
        expect(await readTree(root)).toEqual(expected);
      });
    },
  );

  it('clears both away after its keeper was killed, and restores all layers', async () => {
    await siphon.stop('SIGKILL');
    client.close();
    siphon = await startSiphonService(sandbox);
    client = connect(siphon.address);
    expect(await mountNames()).toEqual(['fuse', 'xattr']);
    expect(await mounted(await client.mounts('looked-at'), readTree)).toEqual(expected);
  });

  it('leaves neither', async () => {
    for (const key of ['looked-at', 'layer-2', 'layer-1', 'layer-0']) await client.remove(key);
    await client.cleanup();
    await expect.poll(() => sandbox.shownLayers()).toEqual([]);
    expect(await siphon.stop()).toBe(0);
    expect(await sandbox.mounts()).toEqual([]);
  });
});

/** The keeper as it was when a server had one connection, and what that server wrote. */
const keeperOfOld = `
exec 9<>/dev/fuse
state=$1; shift
life=1 status=0
trap 'kill -TERM $server' TERM
while :; do
  SIPHON_KEEPER="$$ $life 9 $status " SIPHON_KEEPER_STATE=$state "$@" & server=$!
  wait $server; status=$?
  while kill -0 $server 2>/dev/null; do wait $server; status=$?; done
  [ $status -eq 137 ] || exit $status
  read -r word ready <$state
  [ "$word $ready" = "resume $life" ] || exit 99
  sed -i 's/{"connections":\\[\\(.*\\)\\]}/\\1/; s/,"noXattrs":[a-z]*//; s/"device":9,//' $state
  life=$((life + 1))
done`;

it.skipIf(missing !== undefined)(
  'a keeper of an older version has one connection, which shows every layer, before and after an upgrade',
  async () => {
    await using old = await openSandbox();
    const state = join(old.directory, 'state');
    const address = join(old.directory, 'siphon.sock');
    const config = join(old.directory, 'siphon.toml');
    await must('sh', '-c', 'echo smallest_lazy_layer = 0 >"$1"', '', config);
    const serve = [
      '--root',
      old.root,
      '--log-level',
      'info',
      'serve',
      '--address',
      address,
      '--config',
      config,
    ];
    const words = ['-c', keeperOfOld, 'keeper', state, process.execPath, siphonProgram, ...serve];
    const keeper = spawn('sh', words, { stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    keeper.stderr.setEncoding('utf8').on('data', (text: string) => (log += text));
    const ended = once(keeper, 'exit');
    try {
      await expect.poll(() => log, { timeout: 20_000 }).toContain('"serving"');
      const client = connect(address);
      const top = await prepareAll(client);
      const mounts = await client.view('looked-at', top);
      client.close();
      await mounted(mounts, async (root) => {
        expect(await readTree(root)).toEqual(expected);
        await killServerOf(keeper.pid ?? 0);
        await must('sh', '-c', 'echo 3 >/proc/sys/vm/drop_caches');
        expect(await readTree(root)).toEqual(expected);
      });
      expect(await old.mounts()).toEqual([join(old.root, 'fuse')]);
      expect(await readdir(join(old.root, 'fuse'))).toHaveLength(3);
    } finally {
      keeper.kill('SIGTERM');
      expect(await ended, log).toEqual([0, null]);
    }
    expect(await old.mounts()).toEqual([]);
  },
  60_000,
);
