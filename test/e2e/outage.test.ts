/** A registry that cannot be reached for a while in the middle of reading, or ever again. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { dropPacketsTo, droppingMissing } from '../support/dropped-packets.js';
import { buildLayout, file, noise } from '../support/images.js';
import { type RegistryProxy, startRegistryProxy } from '../support/registry-proxy.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';

const missing = await droppingMissing();
const contents = Array.from({ length: 6 }, (_, n) => noise(3 << 20, `outage ${n}`));

let shared: Sandbox;
let registry: DockerRegistry;

beforeAll(async () => {
  shared = await openSandbox();
  const { layout } = await buildLayout(join(shared.directory, 'layout'), {
    tag: 'latest',
    layers: [contents.map((bytes, n) => file(`file-${n}`, bytes))],
  });
  registry = await startDockerRegistry();
  const to = `docker://${registry.host}/app:latest`;
  await must('skopeo', 'copy', '-q', '--dest-tls-verify=false', `oci:${layout}:latest`, to);
  for (const command of ['build', 'push']) {
    const done = await shared.siphon('index', command, to);
    expect(done, done.stderr).toMatchObject({ code: 0 });
  }
}, 60_000);

afterAll(async () => {
  await registry?.close();
  await shared?.[Symbol.asyncDispose]();
});

/** A mount of the image through a way to the registry of its own, which alone is cut off. */
async function mounted(
  use: (sandbox: Sandbox, proxy: RegistryProxy, directory: string) => Promise<void>,
): Promise<void> {
  await using proxy = await startRegistryProxy(registry.host);
  await using sandbox = await openSandbox();
  const directory = await sandbox.folder('mnt');
  // However long a test takes, nothing comes that is not read.
  const how = ['--fill-after', 'never', 'mount'];
  const outcome = await sandbox.siphon(...how, `docker://${proxy.host}/app:latest`, directory);
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  await use(sandbox, proxy, directory);
}

async function expectFile(directory: string, n: number): Promise<void> {
  const bytes = await readFile(join(directory, `file-${n}`));
  expect(contents[n]?.equals(bytes), `file-${n}`).toBe(true);
}

describe.skipIf(missing !== undefined)(`a registry whose packets are lost ${missing ?? ''}`, () => {
  it('for 2, 6 and 12 s in the middle of reading costs no read', async () => {
    const readThrough = (seconds: number): Promise<void> =>
      mounted(async (_, proxy, directory) => {
        // One request is answered in part when the packets begin to be lost.
        const begun = new Promise<void>((resolve) => {
          proxy.alter = (line, __, { range }) => void (range && line && resolve());
        });
        const reads = contents.map(async (___, n) => {
          await delay(n * 20);
          await expectFile(directory, n);
        });
        await begun;
        {
          await using ____ = await dropPacketsTo(proxy.host);
          await delay(seconds * 1000);
        }
        await Promise.all(reads);
      });
    await Promise.all([2, 6, 12].map(readThrough));
  }, 90_000);

  it('lets readers be killed, gives what is here, and is read again when it is back', async () => {
    await mounted(async (_, proxy, directory) => {
      await expectFile(directory, 0);
      {
        await using __ = await dropPacketsTo(proxy.host);
        const reader = spawn('cat', [join(directory, 'file-5')], { stdio: 'ignore' });
        await delay(1000);
        expect(reader.exitCode).toBeNull();
        const exited = once(reader, 'exit');
        reader.kill('SIGKILL');
        expect(await Promise.race([exited, delay(20_000, 'still there')])).toEqual([
          null,
          'SIGKILL',
        ]);
        await must('sh', '-c', `echo 3 > /proc/sys/vm/drop_caches`);
        await expectFile(directory, 0);
      }
      await expectFile(directory, 5);
    });
  }, 60_000);
});
