import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BlobSource } from '#src/common/blob-source.js';
import type { Digest } from '#src/common/digest.js';
import { fileExists } from '#src/common/file-exists.js';
import { silentLogger } from '#src/common/log.js';
import { ContentStore } from '#src/content/content-store.js';
import { LayerPreparer } from '#src/layers/layer-preparer.js';
import type { LayerServer } from '#src/layers/layer-server.js';
import { LayerStore } from '#src/layers/layer-store.js';
import { type LayerOutcome, LazySnapshots } from '#src/layers/lazy-snapshots.js';
import type { OpenLayers } from '#src/layers/open-layers.js';
import { UnpackedLayers } from '#src/layers/unpacked-layers.js';
import { writeBlob } from '#src/content/layout-writer.js';
import type { PreparedLayer, UnpackPlace } from '#src/snapshotter/lazy-layers.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type BuiltImage, buildLayout, file, hostPlatform } from '../support/images.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { type StallingProxy, startStallingProxy } from '../support/stalling-proxy.js';

const idleTime = 2_000;
const policy = { smallestLazyLayer: 0 };

let sandbox: Sandbox;
let layout: string;
let image: BuiltImage;
let registry: Awaited<ReturnType<typeof serveLayout>>;
let layers: LayerStore;
let content: ContentStore;
let lazy: LazySnapshots;
let outcomes: LayerOutcome[];

beforeEach(async () => {
  policy.smallestLazyLayer = 0;
  sandbox = await openSandbox();
  layout = await sandbox.folder('layout');
  image = await buildLayout(layout, {
    tag: 'latest',
    layers: [[file('a', 'one')], [file('b', 'two')], [file('c', 'three')]],
  });
  registry = await serveLayout({ layout });
  content = await ContentStore.open(sandbox.root);
  layers = LayerStore.open(sandbox.root);
  const preparer = new LayerPreparer({ layers, content, keep: false, log: silentLogger });
  // Nothing is mounted: what is served is of no concern here.
  const served = new Set<number>();
  const server = {
    serve: ({ number }: { number: number }) => (served.add(number), `/${number}`),
    stopServing: (number: number) => Promise.resolve(void served.delete(number)),
  } as unknown as LayerServer;
  const open = {
    has: (number: number) => served.has(number),
    ordering: (blob: BlobSource) => blob,
  } as unknown as OpenLayers;
  outcomes = [];
  lazy = new LazySnapshots({
    root: sandbox.root,
    layers,
    content,
    preparer,
    server,
    open,
    unpacked: await UnpackedLayers.open(sandbox.root),
    policy,
    onOutcome: (outcome) => outcomes.push(outcome),
    idleTime,
    log: silentLogger,
  });
});

afterEach(async () => {
  await lazy[Symbol.asyncDispose]();
  layers[Symbol.dispose]();
  await registry.close();
  await sandbox[Symbol.asyncDispose]();
});

function digestAt(at: number, of = image): Digest {
  const { digest } = of.layers[at] ?? {};
  if (digest === undefined) throw new Error(`no layer ${at}`);
  return digest;
}

function prepare(
  at: number,
  { host = registry.host, signal = new AbortController().signal, of = image } = {},
): Promise<PreparedLayer> {
  return lazy.prepare({
    reference: `${host}/app:latest`,
    layerDigest: digestAt(at, of),
    imageLayers: of.layers.slice(at).map(({ digest }) => digest),
    urls: new Map(),
    signal,
  });
}

async function isReady(at: number): Promise<boolean> {
  const record = layers.find(digestAt(at));
  return record !== undefined && fileExists(layers.indexPath(record.number));
}

describe('LazySnapshots', () => {
  it('prepares all layers when the first is asked for, and keeps those that are asked for', async () => {
    await prepare(0);
    await expect.poll(() => isReady(2)).toBe(true);
    await prepare(1);
    await expect.poll(() => isReady(2)).toBe(false);
    expect([await isReady(0), await isReady(1)]).toEqual([true, true]);
    expect(await content.has(digestAt(1))).toBe(true);
    await expect.poll(() => content.has(digestAt(2))).toBe(false);
    await prepare(2);
    await delay(3 * idleTime);
    expect(await isReady(2)).toBe(true);
  });

  it('removes what came ahead for a pull that was cancelled, and can begin anew', async () => {
    await using proxy: StallingProxy = await startStallingProxy(registry.host, digestAt(0));
    const cancel = new AbortController();
    const pulling = prepare(0, { host: proxy.host, signal: cancel.signal });
    await expect.poll(async () => (await isReady(1)) && (await isReady(2))).toBe(true);
    cancel.abort();
    await expect(pulling).rejects.toMatchObject({ code: 'cancelled' });
    await expect.poll(async () => (await isReady(1)) || (await isReady(2))).toBe(false);
    await expect.poll(() => content.has(digestAt(1))).toBe(false);
    await prepare(0);
    expect(await isReady(0)).toBe(true);
  });

  it('finds a layer of the image that a tag means since a moment ago', async () => {
    await prepare(0);
    const moved = await buildLayout(layout, { tag: 'latest', layers: [[file('d', 'four')]] });
    await prepare(0, { of: moved });
    expect(layers.find(digestAt(0, moved))).toBeDefined();
  });

  it.each([
    ['lazy', 0],
    ['unpacked', 1_000_000],
  ])('takes no image’s word for the tar of a layer: %s', async (_, smallestLazyLayer) => {
    policy.smallestLazyLayer = smallestLazyLayer;
    const liar = await lyingImage();
    const place = async (name: string): Promise<UnpackPlace> => ({
      target: await sandbox.folder(name),
      parents: [],
      reason: { reason: 'small', detail: '' },
    });
    const take = async (of: BuiltImage, name: string): Promise<void> => {
      const asked = { reference: `${registry.host}/app`, layerDigest: digestAt(0, of) };
      const request = { ...asked, manifestDigest: of.manifest.digest, imageLayers: [digestAt(0)] };
      const { signal } = new AbortController();
      const prepared = await lazy.prepare({ ...request, urls: new Map(), signal });
      if (prepared.kind === 'files')
        await lazy.unpack({ ...request, urls: new Map(), signal }, await place(name));
    };
    const refused = { code: 'corrupt', message: expect.stringContaining('diff id') as string };
    const [lie, truth] = await Promise.allSettled([take(liar, 'a'), take(image, 'b')]);
    expect([lie, truth]).toMatchObject([{ reason: refused }, { status: 'fulfilled' }]);
    await lazy.release(layers.find(digestAt(0))?.number ?? 0).catch(() => undefined);
    await expect(take(liar, 'first')).rejects.toMatchObject(refused);
    await take(image, 'second');
    await expect(take(liar, 'third')).rejects.toMatchObject(refused);
    await take(image, 'fourth');
  });

  /** The image, whose config says that its layers are in another order. */
  async function lyingImage(): Promise<BuiltImage> {
    const rootfs = { type: 'layers', diff_ids: image.diffIds.toReversed() };
    const config = { ...hostPlatform(), config: {}, rootfs, history: [] };
    const write = (document: object, type: string) =>
      writeBlob(layout, Buffer.from(JSON.stringify(document)), type);
    const described = await write(config, image.config.mediaType);
    const { mediaType } = image.manifest;
    const parts = { schemaVersion: 2, mediaType, config: described, layers: image.layers };
    return { ...image, config: described, manifest: await write(parts, mediaType) };
  }

  it('names the image that does not have the layer', async () => {
    const stranger = await buildLayout(layout, { layers: [[file('e', 'five')]] });
    await expect(prepare(0, { of: stranger })).rejects.toThrow(`${registry.host}/app:latest`);
  });
});
