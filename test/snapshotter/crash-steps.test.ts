/**
 * What a kill leaves at every single step of every operation that changes the disk: after the next start
 * there is what was answered for, and nothing that belongs to nobody. (That a killed process leaves just
 * that is shown by crash.test.ts, at random moments.)
 */

import { cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestHex } from '#src/common/digest.js';
import { silentLogger } from '#src/common/log.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import type { Snapshot } from '#src/snapshotter/snapshot.js';
import { layerLabels } from '../support/layer-labels.js';
import { type BuiltImage, buildLayout, dir, file } from '../support/images.js';
import { type Sandbox, openSandbox, run } from '../support/sandbox.js';
import { openRoot } from '../support/unmounted-service.mjs';

const path = (name: string): string =>
  fileURLToPath(new URL(`../support/${name}`, import.meta.url));

let sandbox: Sandbox;
let registry: LayoutServer;
let image: BuiltImage;
let base: string;

beforeAll(async () => {
  sandbox = await openSandbox();
  const layout = await sandbox.folder('layout');
  image = await buildLayout(layout, {
    tag: 'latest',
    // The second says nothing of its root.
    layers: [[dir('./', { mode: 0o701 }), file('a', 'one')], [file('b', 'two')]],
  });
  registry = await serveLayout({ layout });
  base = join(sandbox.directory, 'base');
  await fill(base);
}, 60_000);

afterAll(async () => {
  await registry?.close();
  await sandbox?.[Symbol.asyncDispose]();
});

/** Labels that name the layer at `at`, to be committed as `target`. */
function labels(at: number, target: string): Record<string, string> {
  return layerLabels({
    target,
    image: `${registry.host}/app:latest`,
    digest: image.layers[at]?.digest ?? '',
  });
}

/** An ordinary committed snapshot, an active one on it, and a lazy one; and what a crash has left. */
async function fill(root: string): Promise<void> {
  const { snapshotter, close } = await openRoot(root, silentLogger);
  const { signal } = new AbortController();
  await snapshotter.prepare({ key: 'unpacking', parent: '', labels: {} }, signal);
  snapshotter.commit({ key: 'unpacking', name: 'base', labels: {}, parent: '' });
  await snapshotter.prepare({ key: 'active', parent: 'base', labels: {} }, signal);
  const lazy = snapshotter.prepare({ key: 'x', parent: '', labels: labels(0, 'lazy') }, signal);
  await expect(lazy).rejects.toMatchObject({ code: 'already-exists' });
  await close();
  // Its writer has no such id: it is beyond what the kernel gives out.
  for (const suffix of ['tmp', 'tmp.staging'])
    await writeFile(join(root, `layers/1/index.db.99999999-0123456789ab.${suffix}`), 'x');
  for (const orphan of ['snapshots/77/fs', 'layers/77', 'scratch/image-x'])
    await mkdir(join(root, orphan), { recursive: true });
  await writeFile(join(root, 'content/ingest/new-999999999'), 'x');
}

/** Does `operation` on `root`. @returns copies of the root from before each step */
async function recordSteps(root: string, operation: string): Promise<string[]> {
  const copies = `${root} steps`;
  await mkdir(copies);
  const target = JSON.stringify(labels(1, 'new'));
  const recorder = ['--import', pathToFileURL(path('record-steps.mjs')).href];
  const command = [...recorder, path('one-operation.mjs'), root, operation, target];
  const env = { ...process.env, STEPS_OF: root, STEPS_TO: copies };
  const { code, stderr } = await run(process.execPath, command, { env });
  expect(code, stderr).toBe(0);
  return (await readdir(copies)).map((name) => join(copies, name));
}

interface State {
  /** Without the times. */
  snapshots: object[];
  /** Paths in the root that belong to nobody, and such as are missing. */
  leaked: string[];
  missing: string[];
}

/** What the next start makes of the root. */
async function restart(root: string): Promise<State> {
  const { snapshotter, layers, close } = await openRoot(root, silentLogger);
  const snapshots = snapshotter.list([]);
  const owned = snapshots.flatMap(({ id, parent, lazyNumber }) => {
    const described = `snapshots/${id}/snapshot.json`;
    if (lazyNumber === undefined) return [described, `snapshots/${id}/fs`, `snapshots/${id}/work`];
    const blob = `content/blobs/sha256/${digestHex(layers.get(lazyNumber).blobDigest)}`;
    const layer = ['index.db', 'layer.json'].map((name) => `layers/${lazyNumber}/${name}`);
    const dirs = parent === '' ? [] : [`snapshots/${id}/dirs`];
    return [described, ...dirs, blob, ...layer];
  });
  await close();
  const present = await contents(root);
  return {
    snapshots: snapshots.map(stateOf),
    leaked: present.filter((path) => !owned.includes(path)),
    missing: owned.filter((path) => !present.includes(path)),
  };
}

function stateOf({ name, parent, kind, labels: said, lazyNumber }: Snapshot): object {
  return { name, parent, kind, labels: said, lazy: lazyNumber !== undefined };
}

/** What lies where snapshots, layers and blobs lie; of a folder that is empty its name. */
async function contents(root: string): Promise<string[]> {
  const paths: string[] = [];
  for (const pattern of [
    'snapshots',
    'layers',
    'content/blobs/sha256',
    'content/ingest',
    'scratch',
  ])
    for (const entry of await list(join(root, pattern))) {
      const path = `${pattern}/${entry}`;
      const inner = await list(join(root, path));
      if (inner.length > 0) paths.push(...inner.map((name) => `${path}/${name}`));
      else if (!entry.startsWith('layers.db')) paths.push(path);
    }
  return paths;
}

function list(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

describe.skipIf(process.getuid?.() !== 0)('a kill at any step (needs root)', () => {
  it.each([
    'start',
    'prepare',
    'view',
    'update',
    'commit',
    'remove',
    'cleanup',
    'lazy prepare',
    'prepare as files',
    'lazy remove',
  ])(
    '%s',
    async (operation) => {
      const untouched = join(sandbox.directory, `${operation} before`);
      const root = join(sandbox.directory, operation);
      for (const copy of [untouched, root]) await cp(base, copy, { recursive: true });
      const steps = await recordSteps(root, operation);
      const [before, after] = [await restart(untouched), await restart(root)];
      const nothing = { leaked: [], missing: [] };
      expect([before, after]).toMatchObject([nothing, nothing]);
      // What containerd would have to unpack.
      expect(after.snapshots).not.toContainEqual(expect.objectContaining({ name: 'x' }));
      expect(steps.length).toBeGreaterThan(1);
      for (const step of steps) {
        const allowed = step.endsWith('-answered') ? [after] : [before, after];
        expect(allowed, step).toContainEqual(await restart(step));
      }
    },
    60_000,
  );
});
