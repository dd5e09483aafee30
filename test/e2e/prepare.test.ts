/**
 * Prepare as every kind of client asks for it, over the socket, counted at the registry: what is named
 * is found, all layers come at once, nothing is fetched twice, and no failure outlives its call.
 */

import { status } from '@grpc/grpc-js';
import { appendFile, chown, lstat, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Digest } from '#src/common/digest.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type BuiltImage, buildLayout, file } from '../support/images.js';
import { mounted } from '../support/mounted.js';
import { type RegistryProxy, startRegistryProxy } from '../support/registry-proxy.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Labels, type Snapshots, connectSnapshots } from '../support/snapshots-client.js';
import { until } from '../support/until.js';

const prefix = 'containerd.io/snapshot';
let sandbox: Sandbox;
let siphon: SiphonService;
let snapshots: Snapshots;
let layout: string;
let image: BuiltImage;
let registry: Awaited<ReturnType<typeof serveLayout>>;
let proxy: RegistryProxy;
let number = 0;

beforeAll(async () => {
  sandbox = await openSandbox();
  siphon = await startSiphonService(sandbox);
}, 60_000);

afterAll(async () => {
  await siphon?.stop();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
}, 60_000);

/** Every test has an image of its own. */
beforeEach(async () => {
  number += 1;
  layout = await sandbox.folder(`layout-${number}`);
  image = await buildLayout(layout, {
    tag: 'latest',
    layers: [0, 1, 2, 3].map((at) => [
      file(`file-${at}`, `content ${at} of ${number}`),
      file(`dir/${at}`, ''),
    ]),
  });
  registry = await serveLayout({ layout });
  proxy = await startRegistryProxy(registry.host);
  snapshots = connect();
});

afterEach(async () => {
  await removeAll();
  expect(await readdir(join(sandbox.root, 'snapshots'))).toEqual([]);
  await expect.poll(() => sandbox.shownLayers()).toEqual([]);
  snapshots.close();
  await proxy[Symbol.asyncDispose]();
  await registry.close();
});

function connect(): Snapshots {
  return connectSnapshots({ address: siphon.address, snapshotter: '', namespace: 'test' });
}

/** Children first. */
async function removeAll(): Promise<void> {
  for (const { name } of (await snapshots.list()).toReversed()) await snapshots.remove(name);
}

function digestOf(at: number): Digest {
  const { digest } = image.layers[at] ?? {};
  if (digest === undefined) throw new Error(`no layer ${at}`);
  return digest;
}

const reference = (): string => `${proxy.host}/app:latest`;
const target = (at: number): string => `chain-${number}-${at}`;
const layersFrom = (at: number): string =>
  image.layers
    .slice(at)
    .map(({ digest }) => digest)
    .join(',');

function criLabels(at: number): Labels {
  return {
    [`${prefix}.ref`]: target(at),
    [`${prefix}/cri.image-ref`]: reference(),
    [`${prefix}/cri.layer-digest`]: digestOf(at),
    [`${prefix}/cri.manifest-digest`]: image.manifest.digest,
    [`${prefix}/cri.image-layers`]: layersFrom(at),
  };
}

function stargzLabels(at: number): Labels {
  return {
    [`${prefix}.ref`]: target(at),
    [`${prefix}/remote/stargz.reference`]: reference(),
    [`${prefix}/remote/stargz.digest`]: digestOf(at),
    [`${prefix}/remote/stargz.layers`]: layersFrom(at),
    [`${prefix}/remote/stargz.prefetch`]: '10485760',
    [`${prefix}/remote/urls`]: '',
  };
}

/** SOCI's client says more of what CRI says. */
function sociLabels(at: number): Labels {
  const sizes = image.layers.slice(at).map(({ size }) => size);
  return {
    ...criLabels(at),
    [`${prefix}/remote/soci.size`]: String(sizes[0]),
    [`${prefix}/remote/image.layers.size`]: sizes.join(','),
    [`${prefix}/remote/soci.index.digest`]: '',
  };
}

const parentOf = (at: number): string => (at === 0 ? '' : target(at - 1));

/** One Prepare of a layer, which must come out as a remote snapshot. */
async function prepareLazily(at: number, labels: Labels, client = snapshots): Promise<void> {
  const key = `extract-${Math.random()} ${target(at)}`;
  await expect(client.prepare(key, parentOf(at), labels)).rejects.toMatchObject({
    code: status.ALREADY_EXISTS,
  });
}

async function pull(labelsOf: (at: number) => Labels): Promise<void> {
  for (const at of image.layers.keys()) await prepareLazily(at, labelsOf(at));
}

async function expectContents(): Promise<void> {
  const mounts = await snapshots.view(`look-${number}`, target(image.layers.length - 1));
  await mounted(mounts, async (root) => {
    for (const at of image.layers.keys()) {
      expect(await readFile(join(root, `file-${at}`), 'utf8')).toBe(`content ${at} of ${number}`);
    }
  });
}

function asked(part: string): string[] {
  return proxy.requests.filter((line) => line.includes(part));
}

describe('labels of', () => {
  it.each([
    ['CRI and nerdctl', criLabels],
    ['the stargz client', stargzLabels],
    ['the SOCI client', sociLabels],
  ])('%s name image and layer', async (_, labelsOf) => {
    await pull(labelsOf);
    for (const at of image.layers.keys()) {
      const [found] = await snapshots.list(
        `labels."${prefix}.ref"==${target(at)},parent=="${parentOf(at)}"`,
      );
      expect(found).toMatchObject({ name: target(at), labels: labelsOf(at) });
    }
    await expectContents();
  });

  describe('layers that the registry does not have', () => {
    /** @returns a URL where the blob lies instead */
    async function moveAway(at: number): Promise<string> {
      const elsewhere = await sandbox.folder(`elsewhere-${number}`);
      const { digest } = image.layers[at] ?? {};
      const server = await serveLayout({ layout });
      proxy.before = async (line) => (line.includes(`/app/blobs/${digest}`) ? 404 : undefined);
      elsewheres.push(async () => {
        await server.close();
        await rm(elsewhere, { recursive: true });
      });
      return `http://${server.host}/v2/elsewhere/blobs/${digest}`;
    }
    const elsewheres: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const close of elsewheres.splice(0)) await close();
    });

    it('are drawn from the URLs that the labels name', async () => {
      const url = await moveAway(1);
      await prepareLazily(0, { ...stargzLabels(0), [`${prefix}/remote/urls.1`]: url });
      await prepareLazily(1, { ...stargzLabels(1), [`${prefix}/remote/urls`]: `ftp://x,${url}` });
      for (const at of [2, 3]) await prepareLazily(at, stargzLabels(at));
      await expectContents();
      expect(asked(`GET /v2/app/blobs/${digestOf(1)}`)).toEqual([]);
    });

    it('are left to containerd where there is no URL', async () => {
      await moveAway(0);
      expect(await snapshots.prepare('ordinary', '', criLabels(0))).toHaveLength(1);
    });
  });
});

describe('published indexes', () => {
  it('are looked for while the config is read, for layers that are new', async () => {
    proxy.before = async (line) => {
      if (line.includes(image.config.digest))
        await until(async () => asked('/referrers/').length > 0);
    };
    await pull(criLabels);
    expect(asked('/referrers/')).toHaveLength(1);
  });
});

describe('a container on lazy layers', () => {
  it('changes, moves, deletes and owns what they hold, and is committed as any other', async () => {
    await pull(criLabels);
    const active = await snapshots.prepare(`change-${number}`, target(3));
    await mounted(active, async (root) => {
      expect((await lstat(root)).mode & 0o7777).toBe(0o755);
      await appendFile(join(root, 'file-0'), ' and more');
      await rename(join(root, 'file-1'), join(root, 'moved'));
      await rm(join(root, 'file-2'));
      await chown(join(root, 'file-3'), 5, 6);
      await rename(join(root, 'dir'), join(root, 'dir-2')).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'EXDEV' });
      });
      await rm(join(root, 'dir'), { recursive: true, force: true });
    });
    await snapshots.commit(`changed-${number}`, `change-${number}`);
    const mounts = await snapshots.view(`look-${number}`, `changed-${number}`);
    await mounted(mounts, async (root) => {
      expect((await readdir(root)).filter((name) => !name.startsWith('dir')).sort()).toEqual([
        'file-0',
        'file-3',
        'moved',
      ]);
      expect(await readdir(root)).not.toContain('dir');
      expect(await readFile(join(root, 'file-0'), 'utf8')).toBe(`content 0 of ${number} and more`);
      expect(await readFile(join(root, 'moved'), 'utf8')).toBe(`content 1 of ${number}`);
      expect(await lstat(join(root, 'file-3'))).toMatchObject({ uid: 5, gid: 6 });
    });
    await expect(snapshots.remove(target(3))).rejects.toMatchObject({
      code: status.FAILED_PRECONDITION,
    });
    const own = await snapshots.usage(`changed-${number}`);
    expect(own.size).toBeLessThan(100_000);
  });
});

describe('the layers of an image', () => {
  it('come all at once when the first is asked for', async () => {
    // The first is held back until all others have been asked for.
    proxy.before = async (line) => {
      if (line.includes(`/blobs/${digestOf(0)}`)) {
        await expect
          .poll(() =>
            [1, 2, 3].every((at) => asked(`GET /v2/app/blobs/${digestOf(at)}`).length > 0),
          )
          .toBe(true);
      }
    };
    await pull(criLabels);
    await expectContents();
    for (const at of image.layers.keys()) expect(asked(`/blobs/${digestOf(at)}`)).toHaveLength(1);
  });

  it('are looked up once, whoever asks at the same time', async () => {
    const clients = Array.from({ length: 20 }, connect);
    const first = Array.from({ length: 10 }, () =>
      clients.map((client) => prepareLazily(0, criLabels(0), client)),
    );
    await Promise.all(first.flat());
    for (const at of [1, 2, 3]) {
      await Promise.all(clients.map((client) => prepareLazily(at, criLabels(at), client)));
    }
    for (const client of clients) client.close();
    await expectContents();
    expect(await snapshots.list('kind==committed')).toHaveLength(image.layers.length);
    for (const at of image.layers.keys()) expect(asked(`/blobs/${digestOf(at)}`)).toHaveLength(1);
    expect(asked(`/referrers/`)).toHaveLength(1);
    expect(asked(`/manifests/${image.manifest.digest}`)).toHaveLength(1);
    expect(new Set(proxy.requests).size).toBe(proxy.requests.length);
  });

  it('can be asked for and given up by hundreds, and are there for who stays', async () => {
    const clients = Array.from({ length: 10 }, connect);
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    proxy.before = (line) => (line.includes('/blobs/') ? held : Promise.resolve());
    const calls = clients.flatMap((client, one) =>
      Array.from({ length: 30 }, (_, call) => {
        const cancel = new AbortController();
        const key = `crowd-${one}-${call}`;
        const running = client.prepare(key, '', criLabels(0), cancel.signal).then(
          () => 'prepared',
          (error: unknown) => (error instanceof Error && 'code' in error ? Number(error.code) : -1),
        );
        return { cancel, running, stays: call === 0 };
      }),
    );
    await expect
      .poll(() => asked(`GET /v2/app/blobs/`).length, { timeout: 30_000 })
      .toBeGreaterThan(0);
    for (const { cancel, stays } of calls) if (!stays) cancel.abort();
    release();
    const outcomes = await Promise.all(
      calls.map(async ({ running, stays }) => `${stays} ${await running}`),
    );
    expect(new Set(outcomes)).toEqual(
      new Set([`true ${status.ALREADY_EXISTS}`, `false ${status.CANCELLED}`]),
    );
    for (const client of clients) client.close();
    expect(await snapshots.list()).toHaveLength(1);
    expect(asked(`/blobs/${digestOf(0)}`)).toHaveLength(1);
  });

  it('come after an attempt that all have given up', async () => {
    let held = true;
    proxy.before = async (line) => {
      if (held && line.includes(`/blobs/${digestOf(0)}`)) await new Promise(() => {});
    };
    const cancel = new AbortController();
    const running = snapshots.prepare('given-up', '', criLabels(0), cancel.signal);
    const outcome = expect(running).rejects.toMatchObject({ code: status.CANCELLED });
    await expect.poll(() => asked(`/blobs/${digestOf(0)}`)).toHaveLength(1);
    cancel.abort();
    await outcome;
    expect(await snapshots.list()).toEqual([]);
    held = false;
    await pull(criLabels);
    await expectContents();
  });

  it.each([
    ['manifest', '/manifests/', 404],
    ['blob', '/blobs/', 404],
    ['blob, for now,', '/blobs/', 503],
  ])('come after an attempt that found no %s', async (_, part, code) => {
    let failing = true;
    proxy.before = async (line) => (failing && line.includes(part) ? code : undefined);
    expect(await snapshots.prepare('ordinary', '', criLabels(0))).toHaveLength(1);
    await snapshots.remove('ordinary');
    failing = false;
    await pull(criLabels);
    await expectContents();
  });
});
