/** Ctrl-C while a container is only made ready: it says what was begun, and leaves nothing. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { writeContainerImage } from '../support/container-image.js';
import { type RegistryProxy, startRegistryProxy } from '../support/registry-proxy.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { startSiphonInTerminal } from '../support/terminal.js';

const skip = process.getuid?.() !== 0;

let images: Sandbox;
let server: Awaited<ReturnType<typeof serveLayout>>;
let proxy: RegistryProxy;
let name: string;
/** Of the test alone: nothing of the image is there. */
let sandbox: Sandbox;
/** Resolves when a layer is asked for, which waits until the test lets go. */
let asked: Promise<void>;
let letGo: () => void;

beforeAll(async () => {
  if (skip) return;
  images = await openSandbox();
  const { layout } = await writeContainerImage(images.directory);
  server = await serveLayout({ layout });
}, 60_000);

beforeEach(async () => {
  if (skip) return;
  sandbox = await openSandbox();
  proxy = await startRegistryProxy(server.host);
  name = `${proxy.host}/app:latest`;
  const held = new Promise<void>((done) => (letGo = done));
  asked = new Promise<void>((tell) => {
    proxy.before = (request) => {
      if (!request.startsWith('GET ') || !request.includes('/blobs/')) return Promise.resolve();
      tell();
      return held;
    };
  });
});

afterEach(async () => {
  if (skip) return;
  letGo();
  await proxy[Symbol.asyncDispose]();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
});

afterAll(async () => {
  if (skip) return;
  await server.close();
  await images[Symbol.asyncDispose]();
});

/** What is said of container "c", when nothing is left of it. */
function expectTold(said: string, left: string): void {
  expect(said).toContain(
    `siphon: Cannot start container "c" of "${name}": it was interrupted\n` +
      `${left}; what has come of the image stays for the next start.\n`,
  );
}

const nothing = 'Nothing is left of the container';

async function containers(): Promise<string[]> {
  return readdir(join(sandbox.root, 'run'));
}

/** Runs siphon, and interrupts it once `ripe` is. */
async function interrupt(ripe: () => Promise<void>, ...args: string[]): Promise<string> {
  const child = spawn(process.execPath, ['bin/siphon', '--root', sandbox.root, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (text: Buffer) => (said += text.toString()));
  const ended = once(child, 'close');
  await ripe();
  child.kill('SIGINT');
  expect(await ended).toEqual([args[0] === 'start' ? 1 : 125, null]);
  return said;
}

describe.skipIf(skip)('a start that is interrupted: needs root', () => {
  it.each([['run'], ['run --rm'], ['run -d']])(
    'while layers come, of %s, leaves nothing, and the next goes on',
    async (command) => {
      const args = [...command.split(' '), '--name', 'c', name, 'true'];
      expectTold(await interrupt(() => asked, ...args), nothing);
      expect(await containers()).toEqual([]);
      letGo();
      const next = await sandbox.siphon('run', '--rm', '--name', 'c', name, 'id', '-u');
      expect(next, next.stderr).toMatchObject({ code: 0, stdout: '0\n' });
    },
  );

  it('while layers come, of run -t', async () => {
    const terminal = startSiphonInTerminal(sandbox, 'run', '-t', '--name', 'c', name, 'true');
    await asked;
    terminal.signal('SIGINT');
    expectTold(await terminal.see('for the next start.\n'), nothing);
    expect(await terminal.ended).toBe(125);
    expect(await containers()).toEqual([]);
  });

  it('while layers come, of start, leaves the container as it was', async () => {
    await sandbox.siphon('create', '--name', 'c', name, 'true');
    expectTold(await interrupt(() => asked, 'start', 'c'), 'The container is as it was');
    expect((await sandbox.siphon('ps', '--all')).stdout).toMatch(/^c .* created *$/m);
  });

  it.each([['run --rm'], ['run -d']])('at its very beginning, of %s', async (command) => {
    const begun = async (): Promise<void> => {
      while (!existsSync(join(sandbox.root, 'run/c'))) await sleep(1);
    };
    const args = [...command.split(' '), '--name', 'c', name, 'true'];
    expectTold(await interrupt(begun, ...args), nothing);
    expect(await containers()).toEqual([]);
  });
});
