/**
 * A pull that is killed anywhere: before each of its requests is answered, and while the blobs come. The
 * next pull works, fetches nothing again that was committed, and what is removed leaves nothing.
 */

import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ImageDatabase } from '#src/content/image-database.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type BuiltImage, buildLayout, file, noise } from '../support/images.js';
import { type RegistryProxy, startRegistryProxy } from '../support/registry-proxy.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';

const MOMENTS = 25;
/** A whole pull has about as many signs of progress; from then on it is killed some time after one. */
const SIGNS = 14;
const program = fileURLToPath(new URL('../../bin/siphon', import.meta.url));

let sandbox: Sandbox;
let built: BuiltImage;
let server: Awaited<ReturnType<typeof serveLayout>>;
let proxy: RegistryProxy;
beforeEach(async () => {
  sandbox = await openSandbox();
  built = await buildLayout(join(sandbox.directory, 'layout'), {
    tag: 'v1',
    layers: [
      [file('a', noise(3_000_000, 'a'))],
      [file('b', noise(2_000_000, 'b'))],
      [file('c', 'c')],
    ],
  });
  server = await serveLayout({ layout: built.layout });
  proxy = await startRegistryProxy(server.host);
});
afterEach(async () => {
  await proxy[Symbol.asyncDispose]();
  await server.close();
  await sandbox[Symbol.asyncDispose]();
});

it('goes on after a kill at any moment, and leaves nothing when it is removed', async () => {
  const name = `${proxy.host}/app:v1`;
  for (let moment = 0; moment < MOMENTS; moment++) {
    await killedPull(name, moment);
    const committed = await blobsHere();
    proxy.requests.length = 0;
    // Half of them are collected instead: a killed pull has no name yet.
    if (moment % 2 === 0) {
      await siphon('pull', name);
      const fetched = proxy.requests.filter((request) =>
        /^GET .*\/(blobs|manifests)\//.test(request),
      );
      const again = fetched.filter((request) => committed.some((hex) => request.endsWith(hex)));
      expect(again, `after moment ${moment}`).toEqual([]);
      await siphon('rmi', name);
    } else await siphon(...(isRecorded(name) ? ['rmi', name] : ['gc']));
    expect(await leftovers(), `after moment ${moment}`).toEqual([]);
  }
}, 400_000);

/**
 * Ends a pull with SIGKILL at its `moment`-th sign of progress: a request that arrives here, or an event
 * that it prints. One that is through before that has ended by itself.
 */
async function killedPull(name: string, moment: number): Promise<void> {
  const child = spawn(process.execPath, [program, '--root', sandbox.root, '--json', 'pull', name], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(child, 'close');
  let signs = 0;
  const sign = (): void => {
    if (signs++ !== moment % SIGNS) return;
    if (moment < SIGNS) child.kill('SIGKILL');
    else setTimeout(() => child.kill('SIGKILL'), randomInt(40));
  };
  proxy.before = () => Promise.resolve(sign());
  child.stderr.on('data', sign);
  await ended;
  proxy.before = () => Promise.resolve();
}

function isRecorded(name: string): boolean {
  using images = ImageDatabase.open(sandbox.root);
  return images.find(name) !== undefined;
}

async function siphon(...args: string[]): Promise<void> {
  const outcome = await sandbox.siphon(...args);
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
}

async function blobsHere(): Promise<string[]> {
  const folder = join(sandbox.root, 'content/blobs/sha256');
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => /^[0-9a-f]{64}$/.test(name));
}

/** Files of content and layers that nobody needs. */
async function leftovers(): Promise<string[]> {
  const left: string[] = [];
  for (const folder of ['content/blobs/sha256', 'content/ingest', 'content/memo']) {
    left.push(...(await readdir(join(sandbox.root, folder))));
  }
  const layers = await readdir(join(sandbox.root, 'layers')).catch(() => []);
  return [...left, ...layers.filter((entry) => !entry.startsWith('layers.db'))];
}
