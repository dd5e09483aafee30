import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ContainerDirectory } from '#src/exec/container-directory.js';
import { findRuntime } from '#src/exec/find-runtime.js';
import { RuntimeCommands } from '#src/exec/runtime-commands.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'siphon-test-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

it.each(['runc', 'crun'])('%s makes nothing of a container that was removed', async (runtime) => {
  const path = join(folder, 'bundle');
  const gone = ContainerDirectory.at(path, 'gone');
  const commands = new RuntimeCommands(await findRuntime(runtime), 'gone', gone);
  for (const ask of [
    () => commands.status(),
    () => commands.kill('SIGTERM'),
    () => commands.delete(),
  ])
    await expect(ask()).rejects.toThrow();
  expect(existsSync(path)).toBe(false);
});
