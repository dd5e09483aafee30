/** A reader that waits for a registry which says nothing is killed. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { file, noise } from '../../demo/image/entry.js';
import { writeLayout } from '../../demo/image/write-layout.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { fuseMissing } from '../support/served-folders.js';
import { startStallingProxy } from '../support/stalling-proxy.js';

const missing = fuseMissing();
/** Far less than the minute after which a read fails. */
const atOnce = 5000; // ms

describe.skipIf(missing !== undefined)(`a killed reader (${missing ?? 'of a cold file'})`, () => {
  let shared: Sandbox;
  let registry: LayoutServer;
  let digest: string;

  beforeAll(async () => {
    shared = await openSandbox();
    const layout = join(shared.directory, 'image');
    const layers = [{ title: 'one', entries: [file('cold', noise('cold', 5_000_000))] }];
    const image = await writeLayout({ layout, tag: 'latest', layers, process: {} });
    digest = image.layers[0]?.digest ?? '';
    const built = await shared.siphon('index', 'build', '--push', `oci:${layout}:latest`);
    expect(built, built.stderr).toMatchObject({ code: 0 });
    registry = await serveLayout({ layout });
  }, 60_000);

  afterAll(async () => {
    await registry?.close();
    await shared?.[Symbol.asyncDispose]();
  });

  it.each(['kernel', 'libfuse'])('leaves the %s driver at once', async (driver) => {
    await using sandbox = await openSandbox();
    await using proxy = await startStallingProxy(registry.host, digest);
    const target = await sandbox.folder('mnt');
    const source = `docker://${proxy.host}/image:latest`;
    const mounted = await sandbox.siphon('mount', '--driver', driver, source, target);
    expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
    const reader = spawn('cat', [join(target, 'cold')], { stdio: 'ignore' });
    const ended = once(reader, 'exit').then(() => true);
    await proxy.stalled;
    reader.kill('SIGKILL');
    const left = await Promise.race([ended, delay(atOnce, false)]);
    expect(left).toBe(true);
    await proxy[Symbol.asyncDispose]();
    await ended;
    expect((await sandbox.siphon('umount', target)).code).toBe(0);
  });
});
