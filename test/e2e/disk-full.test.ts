/** `siphon serve` with a root that has no byte left, and after there is room again. */

import { status } from '@grpc/grpc-js';
import { closeSync, openSync, writeSync } from 'node:fs';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemCode } from '#src/common/errors.js';
import { createLayout } from '#src/content/layout-writer.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { layerLabels } from '../support/layer-labels.js';
import { type BuiltImage, buildLayout, file, noise } from '../support/images.js';
import { mounted } from '../support/mounted.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';

const missing = process.getuid?.() === 0 ? undefined : 'needs root';
/** Larger than what is kept in reserve, smaller than the disk. */
const big = noise(12_000_000, 'big');

let sandbox: Sandbox;
let registry: LayoutServer;
let siphon: SiphonService;
let snapshots: Snapshots;
const images = new Map<string, BuiltImage>();

beforeAll(async () => {
  sandbox = await openSandbox();
  const layout = await sandbox.folder('layout');
  await createLayout(layout);
  for (const tag of ['indexed', 'streamed', 'later'])
    images.set(tag, await buildLayout(layout, { tag, layers: [[file('big', big), file(tag)]] }));
  images.set('small', await buildLayout(layout, { tag: 'small', layers: [[file('small', 'x')]] }));
  await using publisher = await openSandbox();
  for (const tag of ['indexed', 'later'])
    for (const command of ['build', 'push']) {
      const done = await publisher.siphon('index', command, `oci:${layout}:${tag}`);
      expect(done, done.stderr).toMatchObject({ code: 0 });
    }
  registry = await serveLayout({ layout });
  await sandbox.folder('root');
  await must('mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', sandbox.root);
  await start();
}, 60_000);

afterAll(async () => {
  snapshots?.close();
  await siphon?.stop();
  await registry?.close();
  await sandbox?.[Symbol.asyncDispose]();
}, 60_000);

async function start(): Promise<void> {
  const config = join(await sandbox.folder('config'), 'siphon.toml');
  await writeFile(config, 'smallest_lazy_layer = 1000\n');
  siphon = await startSiphonService(sandbox, '--config', config);
  snapshots?.close();
  const { address } = siphon;
  snapshots = connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
}

const filler = (): string => join(sandbox.root, 'filler');

/** Takes what is left, to the last page. */
function fill(): void {
  const file = openSync(filler(), 'a');
  try {
    for (let size = 1 << 20; size >= 512; size /= 2) {
      const piece = Buffer.alloc(size);
      while (writes(file, piece));
    }
  } finally {
    closeSync(file);
  }
}

function writes(file: number, piece: Buffer): boolean {
  try {
    return writeSync(file, piece) > 0;
  } catch (error) {
    if (systemCode(error) !== 'ENOSPC') throw error;
    return false;
  }
}

/** What CRI says of an image's only layer. */
function labels(tag: string): Record<string, string> {
  return layerLabels({
    target: `chain-${tag}`,
    image: `${registry.host}/app:${tag}`,
    digest: images.get(tag)?.layers[0]?.digest ?? '',
  });
}

async function pull(tag: string): Promise<void> {
  const prepared = snapshots.prepare(`pull-${tag}`, '', labels(tag));
  await expect(prepared).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
}

/** Calls until one meets the end of the disk: what is allocated already may serve a few. */
async function expectRefused(call: (attempt: number) => Promise<unknown>): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const outcome: unknown = await call(attempt).catch((error: unknown) => ({ error }));
    if (typeof outcome !== 'object' || outcome === null || !('error' in outcome)) continue;
    const details = expect.stringMatching(/ENOSPC.*expected/) as string;
    expect(outcome.error).toMatchObject({ code: status.RESOURCE_EXHAUSTED, details });
    return;
  }
  throw new Error('the disk does not become full');
}

async function readBig(key: string): Promise<Buffer> {
  return mounted(await snapshots.mounts(key), (root) => readFile(join(root, 'big')));
}

describe.skipIf(missing !== undefined)(`a full disk ${missing ?? ''}`, () => {
  beforeAll(async () => {
    await pull('indexed');
    await snapshots.view('view', 'chain-indexed');
    await snapshots.prepare('unpacking', '');
    await snapshots.commit('base', 'unpacking');
    for (const key of ['first', 'second', 'third']) await snapshots.prepare(key, 'base');
  }, 60_000);

  beforeEach(fill);

  it.each<[string, (attempt: number) => Promise<unknown>]>([
    ['Prepare', (attempt) => snapshots.prepare(`prepare-${attempt}`, 'base')],
    ['View', (attempt) => snapshots.view(`view-${attempt}`, 'base')],
    [
      'Commit',
      async () => {
        await snapshots.commit('committed', 'first');
        await snapshots.remove('committed');
        await snapshots.prepare('first', 'base');
      },
    ],
    ['Update', (attempt) => snapshots.update('base', { attempt: `${attempt}` })],
    [
      'of a layer with a published index, Prepare',
      () => snapshots.prepare('x', '', labels('later')),
    ],
    ['of a layer that is streamed, Prepare', () => snapshots.prepare('x', '', labels('streamed'))],
    ['of a layer that is unpacked, Prepare', () => snapshots.prepare('x', '', labels('small'))],
  ])(
    '%s is refused and says why',
    async (_, call) => {
      await expectRefused(call);
      expect(await snapshots.stat('base')).toMatchObject({ name: 'base' });
    },
    60_000,
  );

  it('lets whoever reads have what is not here, from memory', async () => {
    expect(big.equals(await readBig('view'))).toBe(true);
    expect(big.equals(await readBig('view'))).toBe(true);
    const said = siphon.log().split('what is read is not kept on the disk any more');
    expect(said).toHaveLength(2);
    expect(said[1]).toContain('ENOSPC');
  }, 60_000);

  it('does not keep Remove from freeing', async () => {
    for (const key of ['second', 'third']) {
      fill();
      await snapshots.remove(key);
    }
    await expect(snapshots.stat('third')).rejects.toMatchObject({ code: status.NOT_FOUND });
    expect(siphon.log()).toContain('room that was kept for removals is used');
  }, 60_000);

  it('does not keep the service from starting, nor from removing then', async () => {
    expect(await siphon.stop()).toBe(0);
    fill();
    await start();
    expect(await snapshots.stat('base')).toMatchObject({ name: 'base' });
    expect(big.equals(await readBig('view'))).toBe(true);
    await snapshots.remove('first');
  }, 60_000);

  it('leaves everything as it was: with room again, all of it works', async () => {
    const before = (await snapshots.list()).map(({ name }) => name).toSorted();
    await rm(filler());
    for (const tag of ['later', 'streamed', 'small']) await pull(tag);
    for (const tag of ['later', 'streamed']) {
      await snapshots.view(`see-${tag}`, `chain-${tag}`);
      expect(big.equals(await readBig(`see-${tag}`))).toBe(true);
    }
    await snapshots.prepare('new', 'base');
    await snapshots.update('base', { changed: 'yes' });
    await snapshots.commit('newer', 'new');
    expect(big.equals(await readBig('view'))).toBe(true);
    expect(await siphon.stop()).toBe(0);
    await start();
    const names = (await snapshots.list()).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining([...before, 'chain-small', 'newer']));
    expect(big.equals(await readBig('view'))).toBe(true);
    for (const { name } of (await snapshots.list()).toReversed()) await snapshots.remove(name);
    expect(await readdir(join(sandbox.root, 'snapshots'))).toEqual([]);
    expect(
      (await readdir(join(sandbox.root, 'layers'))).filter((name) => /^\d/.test(name)),
    ).toEqual([]);
  }, 60_000);

  it('keeps the service from starting where nothing is in reserve, and it says so', async () => {
    await siphon.stop();
    await rm(join(sandbox.root, 'reserve'));
    fill();
    const refused = await sandbox.siphon('serve', '--address', siphon.address);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toMatch(/its disk is full \(ENOSPC\), with \d+ bytes left, expected/);
    await rm(filler());
  }, 60_000);
});
