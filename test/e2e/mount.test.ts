import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as consumers from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestHex } from '#src/common/digest.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { buildLayout } from '../support/images.js';
import { startRegistryProxy } from '../support/registry-proxy.js';
import { type Outcome, type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type Tree, readTree } from '../support/tree.js';

let shared: Sandbox;
let image: DemoLayout;
let expected: Tree;

beforeAll(async () => {
  shared = await openSandbox();
  image = await writeSmallLayout(shared);
  const bundle = join(shared.directory, 'bundle');
  await must('umoci', 'unpack', '--image', `${image.layout}:latest`, bundle);
  expected = await readTree(join(bundle, 'rootfs'));
}, 120_000);

afterAll(() => shared[Symbol.asyncDispose]());

/** Mounts, hands the folder over, unmounts; nothing may be left then. */
async function withMount<T>(
  sandbox: Sandbox,
  source: string,
  use: (directory: string) => Promise<T>,
  ...options: string[]
): Promise<T> {
  const directory = await sandbox.folder('mnt');
  succeeded(await sandbox.siphon('mount', ...options, source, directory));
  try {
    return await use(directory);
  } finally {
    succeeded(await sandbox.siphon('umount', directory));
    expect(await sandbox.mounts()).toEqual([]);
    expect(await readdir(join(sandbox.root, 'mounts'))).toEqual([]);
  }
}

function succeeded(outcome: Outcome): void {
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
}

describe('siphon mount', () => {
  it('shows an OCI layout as umoci unpacks it', async () => {
    await using sandbox = await openSandbox();
    const tree = await withMount(sandbox, image.source, readTree);
    expect(Object.keys(tree)).toEqual(Object.keys(expected));
    expect(tree).toEqual(expected);
  });

  it('shows uncompressed layers the same', async () => {
    await using sandbox = await openSandbox();
    const plain = await writeSmallLayout(sandbox, 'none');
    expect(await withMount(sandbox, plain.source, readTree)).toEqual(expected);
  });

  it('shows the same through libfuse', async () => {
    await using sandbox = await openSandbox();
    const tree = await withMount(sandbox, image.source, readTree, '--driver', 'libfuse');
    expect(tree).toEqual(expected);
  });

  it.each(['kernel', 'libfuse'])(
    'shows an image without layers as an empty folder: %s',
    async (driver) => {
      await using sandbox = await openSandbox();
      const layout = join(sandbox.directory, 'bare');
      await buildLayout(layout, { tag: 'bare', layers: [] });
      const names = await withMount(
        sandbox,
        `oci:${layout}:bare`,
        (folder) => readdir(folder),
        '--driver',
        driver,
      );
      expect(names).toEqual([]);
    },
  );

  it('stays in the foreground on request, until somebody unmounts the folder, with either driver', async () => {
    for (const driver of ['kernel', 'libfuse']) {
      await using sandbox = await openSandbox();
      const directory = await sandbox.folder('mnt');
      const args = ['mount', '--foreground', '--driver', driver, image.source, directory];
      const ended = new AbortController();
      const mounting = sandbox.siphon(...args).finally(() => ended.abort());
      while (!(await sandbox.mounts()).includes(directory)) {
        if (ended.signal.aborted) break;
        await delay(50);
      }
      await must('umount', directory);
      succeeded(await mounting);
      await gone(() => sandbox.mounts());
    }
  });

  it('shows one layer tar, plain or compressed, as a folder', async () => {
    const [base] = image.layers;
    const blob = join(image.layout, 'blobs/sha256', digestHex(base!.digest)); // the image has layers
    await must('sh', '-c', `cp ${blob} ${shared.directory}/base.tar.gz`);
    await must('sh', '-c', `gzip -dc ${blob} > ${shared.directory}/base.tar`);
    for (const name of ['base.tar.gz', 'base.tar']) {
      await using sandbox = await openSandbox();
      const path = join(shared.directory, name);
      const text = await withMount(sandbox, path, (directory) =>
        readFile(join(directory, 'etc/old.conf'), 'utf8'),
      );
      expect(text).toBe('A layer above removes this file.\n');
    }
  });
});

describe('siphon mount that is interrupted', () => {
  it.each([150, 400, 700])('after %i ms ends and leaves nothing', async (milliseconds) => {
    await using sandbox = await openSandbox();
    const directory = await sandbox.folder('mnt');
    const siphon = new URL('../../bin/siphon', import.meta.url).pathname;
    const args = [siphon, '--root', sandbox.root, 'mount', image.source, directory];
    const child = spawn(process.execPath, args, { stdio: 'ignore' });
    const ended = once(child, 'exit');
    await delay(milliseconds);
    child.kill('SIGINT');
    await ended;
    // It may be through by then, and stand: a signal has its own effect once Node itself ends.
    const stands = async (): Promise<boolean> => (await sandbox.mounts()).includes(directory);
    const mounted = child.exitCode === 0 || (child.signalCode !== null && (await stands()));
    if (mounted) succeeded(await sandbox.siphon('umount', directory));
    await gone(() => sandbox.mounts());
    succeeded(await sandbox.siphon('mount', image.source, directory, '--log-level', 'error'));
    succeeded(await sandbox.siphon('umount', directory));
  });
});

/** Waits until there is nothing any more; a server ends a moment after its command. */
async function gone(list: () => Promise<string[]>): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await delay(50)) {
    if ((await list()).length === 0) return;
  }
  expect(await list()).toEqual([]);
}

/** Waits until the layers' FUSE mount is there, which is so before any layer is. */
async function serverStands(sandbox: Sandbox): Promise<void> {
  await expect.poll(() => sandbox.mounts(), { timeout: 20_000 }).not.toEqual([]);
}

describe('several mounts on one root', () => {
  it.each(['kernel', 'libfuse'])(
    'follow one another at one place, also where others have unmounted it: %s',
    async (driver) => {
      await using sandbox = await openSandbox();
      const folder = await sandbox.folder('mnt');
      const mount = async (): Promise<void> =>
        succeeded(await sandbox.siphon('mount', '--driver', driver, image.source, folder));
      await mount();
      await must('umount', folder);
      await mount();
      await must('umount', folder);
      await mount();
      expect(await sandbox.mounts()).toContain(folder);
      succeeded(await sandbox.siphon('umount', folder));
      expect(await sandbox.mounts()).toEqual([]);
      expect(await readdir(join(sandbox.root, 'mounts'))).toEqual([]);
    },
    60_000,
  );

  it('are read on by whoever uses them when they are unmounted lazily, and end with the last', async () => {
    await using sandbox = await openSandbox();
    const folder = await sandbox.folder('mnt');
    succeeded(await sandbox.siphon('mount', image.source, folder));
    // Longer than a server looks whether its mount still stands.
    const read = spawn('sh', ['-c', 'cd "$1" && echo && sleep 4 && tar -cf - .', 'sh', folder]);
    const done = once(read, 'exit');
    const bytes = consumers.buffer(read.stdout);
    await once(read.stdout, 'readable');
    await must('umount', '--lazy', folder);
    expect(await done).toEqual([0, null]);
    expect((await bytes).length).toBeGreaterThan(10_240);
    await gone(() => readdir(join(sandbox.root, 'mounts')));
  }, 60_000);

  it('serve one image side by side from the start', async () => {
    await using sandbox = await openSandbox();
    const folders = await Promise.all(['a', 'b', 'c', 'd'].map((name) => sandbox.folder(name)));
    const mounting = folders.map((folder) => sandbox.siphon('mount', image.source, folder));
    for (const outcome of await Promise.all(mounting)) succeeded(outcome);
    const trees = await Promise.all(folders.map((folder) => readTree(folder)));
    for (const folder of folders) succeeded(await sandbox.siphon('umount', folder));
    for (const tree of trees) expect(tree).toEqual(expected);
    expect(await sandbox.mounts()).toEqual([]);
  }, 60_000);

  it('never share a folder', async () => {
    await using sandbox = await openSandbox();
    const folder = await sandbox.folder('mnt');
    const mounting = [1, 2, 3].map(() => sandbox.siphon('mount', image.source, folder));
    const outcomes = await Promise.all(mounting);
    expect(outcomes.filter(({ code }) => code === 0)).toHaveLength(1);
    const refused = outcomes.filter(({ code }) => code === 1);
    for (const { stderr } of refused) expect(stderr).toContain('mounted there already');
    succeeded(await sandbox.siphon('umount', folder));
    expect(await sandbox.mounts()).toEqual([]);
  }, 60_000);
});

describe('siphon mount from a registry that serves ranges', () => {
  let server: LayoutServer;
  let source: string;

  beforeAll(async () => {
    server = await serveLayout({ layout: image.layout });
    source = `docker://${server.host}/demo:latest`;
  });

  afterAll(() => server.close());

  it('ends the server of the layers where one of them fails late', async () => {
    await using sandbox = await openSandbox();
    await using proxy = await startRegistryProxy(server.host);
    proxy.before = async (request) => {
      const isLayer = image.layers.some(({ digest }) => request.includes(digest));
      if (!isLayer) return undefined;
      await serverStands(sandbox);
      return 404;
    };
    const folder = await sandbox.folder('mnt');
    const outcome = await sandbox.siphon('mount', `docker://${proxy.host}/demo:latest`, folder);
    expect(outcome, outcome.stderr).toMatchObject({ code: 1 });
    await gone(() => sandbox.mounts());
    expect(await readdir(join(sandbox.root, 'mounts'))).toEqual([]);
  });

  it('streams the layers once where no index is published, then fetches nothing', async () => {
    await using sandbox = await openSandbox();
    expect(await withMount(sandbox, source, readTree)).toEqual(expected);
    const before = server.stats.blobBytesSent;
    expect(await withMount(sandbox, source, readTree)).toEqual(expected);
    expect(server.stats.blobBytesSent).toBe(before);
  });

  it('fetches only what is read where indexes are published, and that only once', async () => {
    await using publisher = await openSandbox();
    succeeded(await publisher.siphon('index', 'build', '--push', image.source));
    await using sandbox = await openSandbox();
    const passwd = (directory: string) => readFile(join(directory, 'etc/passwd'), 'utf8');
    const before = server.stats.blobBytesSent;
    const lazily = ['--fill-after', 'never']; // however long it takes
    expect(await withMount(sandbox, source, passwd, ...lazily)).toContain('root:x:0:0');
    const fetched = server.stats.blobBytesSent - before;
    expect(fetched).toBeGreaterThan(0);
    expect(fetched).toBeLessThan(image.compressedSize / 2);
    expect(await withMount(sandbox, source, passwd, ...lazily)).toContain('root:x:0:0');
    expect(server.stats.blobBytesSent).toBe(before + fetched);
    expect(await withMount(sandbox, source, readTree)).toEqual(expected);
  });

  it('takes a layer tar behind a URL', async () => {
    await using sandbox = await openSandbox();
    const url = `http://${server.host}/v2/demo/blobs/${image.layers[0]!.digest}`; // the image has layers
    const text = await withMount(sandbox, url, (directory) =>
      readFile(join(directory, 'etc/old.conf'), 'utf8'),
    );
    expect(text).toBe('A layer above removes this file.\n');
  });
});

describe('siphon mount from docker-registry', () => {
  let registry: DockerRegistry;
  let source: string;

  beforeAll(async () => {
    registry = await startDockerRegistry();
    const reference = `${registry.host}/some/demo:v1`;
    source = `docker://${reference}`;
    await must('skopeo', 'copy', '-q', '--dest-tls-verify=false', image.source, source);
  });

  afterAll(() => registry.close());

  it('finds indexes pushed by the tag fallback', async () => {
    await using publisher = await openSandbox();
    succeeded(await publisher.siphon('index', 'build', '--push', source));
    await using sandbox = await openSandbox();
    expect(await withMount(sandbox, source, readTree)).toEqual(expected);
    const blobs = await readdir(join(sandbox.root, 'content/blobs/sha256'));
    const layers = image.layers.map((layer) => digestHex(layer.digest));
    expect(blobs.filter((name) => layers.includes(name))).toEqual([]);
  });
});
