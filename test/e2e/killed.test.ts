/**
 * Pulls and runs that are killed at random moments, while others pull, run and collect garbage on the same
 * root. The next command works, fetches nothing again that was here, and what is removed leaves nothing.
 * SIPHON_KILLS says how many are killed; a long run has 50.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestHex } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type ContainerImage, writeContainerImage } from '../support/container-image.js';
import { file, noise } from '../support/images.js';
import { type RegistryProxy, startRegistryProxy } from '../support/registry-proxy.js';
import { type Outcome, type Sandbox, openSandbox } from '../support/sandbox.js';

const skip = process.getuid?.() !== 0;
const kills = Number(process.env['SIPHON_KILLS'] ?? 6);
const program = fileURLToPath(new URL('../../bin/siphon', import.meta.url));
/** Bytes at a layer's end in which a table of contents is looked for before the layer is streamed. */
const LOOK = 64 * 1024;

let sandbox: Sandbox;
let image: ContainerImage;
let server: Awaited<ReturnType<typeof serveLayout>>;
let proxy: RegistryProxy;
let name: string;

beforeAll(async () => {
  if (skip) return;
  sandbox = await openSandbox();
  const above = ['a', 'b'].map((seed) => [file(seed, noise(6_000_000, seed))]);
  image = await writeContainerImage(sandbox.directory, { Cmd: ['sleep', '60'] }, above);
  server = await serveLayout({ layout: image.layout });
  proxy = await startRegistryProxy(server.host);
  name = `${proxy.host}/app:latest`;
}, 60_000);

afterAll(async () => {
  if (skip) return;
  await proxy[Symbol.asyncDispose]();
  await server.close();
  await sandbox[Symbol.asyncDispose]();
});

async function ok(...args: string[]): Promise<string> {
  const outcome: Outcome = await sandbox.siphon(...args);
  expect(outcome, `siphon ${args.join(' ')}`).toMatchObject({ code: 0 });
  return outcome.stdout;
}

/** Starts siphon and ends it with SIGKILL after so many ms. */
async function killed(args: readonly string[], delay: number): Promise<void> {
  const child = spawn(process.execPath, [program, '--root', sandbox.root, ...args], {
    stdio: 'ignore',
  });
  const ended = once(child, 'exit');
  await sleep(delay);
  child.kill('SIGKILL');
  // One that is killed while it looks into its own mount ends when rm has ended the mount.
  await Promise.race([ended, sleep(1000)]);
}

/** One that keeps a detached container dies at once with whoever asked for it, or lives on. */
async function killKeepers(): Promise<void> {
  for (const id of await readdir(join(sandbox.root, 'run')).catch(() => [])) {
    const text = await readFile(join(sandbox.root, 'run', id, 'state.json'), 'utf8').catch(
      () => '{}',
    );
    const { monitor } = JSON.parse(text) as { monitor?: { pid: number } };
    if (monitor === undefined || Math.random() < 0.5) continue;
    try {
      process.kill(monitor.pid, 'SIGKILL');
    } catch {
      // It ended with its parent.
    }
  }
}

/** Command lines that name the root. */
async function processes(): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry));
  const lines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')),
  );
  return lines.filter((line) => line.includes(sandbox.root));
}

/** Waits for what is about to end by itself. */
async function untilNone(find: () => Promise<string[]>, context: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    const left = await find();
    if (left.length === 0) return;
    expect(tries, `${context}: ${left.join()}`).toBeLessThan(1000);
    await sleep(50);
  }
}

/** Bytes of each blob that are here, whole or in part, by the digest's digits. */
async function bytesHere(): Promise<Map<string, number>> {
  const store = await ContentStore.open(sandbox.root);
  const here = new Map<string, number>();
  for (const { expected, offset } of await store.ingests()) {
    if (expected !== undefined) here.set(digestHex(expected), offset);
  }
  for await (const { digest, size } of store.list()) here.set(digestHex(digest), size);
  return here;
}

/** Pulls the image again, which fetches of each blob what is not here. */
async function pullRest(context: string): Promise<void> {
  const here = await bytesHere();
  const sent = new Map<string, number>();
  proxy.alter = (request, bytes) => {
    const hex = /^GET .*\/blobs\/sha256:(.*)/.exec(request)?.[1] ?? '';
    sent.set(hex, (sent.get(hex) ?? 0) + bytes.length);
  };
  await ok('pull', name);
  proxy.alter = () => undefined;
  for (const { digest, size } of [image.config, ...image.layers]) {
    const had = here.get(digestHex(digest)) ?? 0;
    const most = had === size ? 0 : size - had + 2 * LOOK;
    const fetched = sent.get(digestHex(digest)) ?? 0;
    expect(fetched, `${context}: ${digest} had ${had} of ${size}`).toBeLessThanOrEqual(most);
  }
}

/** Files of content and layers that nobody needs. */
async function leftovers(): Promise<string[]> {
  const folders = ['content/blobs/sha256', 'content/ingest', 'content/memo', 'layers'];
  const names = await Promise.all(folders.map((folder) => readdir(join(sandbox.root, folder))));
  return names.flat().filter((entry) => !entry.startsWith('layers.db'));
}

async function removeAll(context: string): Promise<void> {
  const all = (await ok('ps', '--all', '--quiet')).split('\n').filter(Boolean);
  // The keeper of a start that was killed may remove its container before we do.
  const { stderr } = await sandbox.siphon('rm', '--force', 'none', ...all);
  expect(await ok('ps', '--all', '--quiet'), `${context}: ${stderr}`).toBe('');
  await untilNone(() => readdir(join(sandbox.root, 'run')).catch(() => []), context);
  await untilNone(() => sandbox.mounts(), context);
  await untilNone(processes, context);
}

describe.skipIf(skip)('siphon, killed: needs root', () => {
  it(
    `leaves what the next command can use, ${kills} times`,
    async () => {
      const began = Date.now();
      expect(await ok('run', '--rm', name, 'id', '-u')).toBe('0\n');
      const whole = Date.now() - began;
      for (let done = 0; done < kills; done += 3) {
        const commands = [
          ['pull', name],
          ['run', '--name', `f${done}`, name],
          ['run', '-d', '--name', `d${done}`, name],
        ];
        const delays = commands.map(() => Math.random() * whole * 1.5);
        const context = `${done}, killed after ${delays.map(Math.round).join(', ')} ms of ${whole}`;
        const killing = commands.map((args, at) => killed(args, delays[at] ?? 0));
        await sleep(Math.random() * whole);
        await ok('gc');
        await Promise.all(killing);
        await killKeepers();
        await removeAll(context);
        await pullRest(context);
        expect(await ok('run', '--rm', name, 'id', '-u'), context).toBe('0\n');
        await ok('rmi', name);
        expect(await leftovers(), context).toEqual([]);
      }
    },
    60_000 + kills * 10_000,
  );
});
