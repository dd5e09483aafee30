import { checkCommand } from '#src/exec/command-lookup.js';
import { containerSpec } from '#src/exec/container-spec.js';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let rootfs: string;

beforeAll(async () => {
  rootfs = await mkdtemp(join(tmpdir(), 'siphon-command-'));
  await mkdir(join(rootfs, 'bin/folder'), { recursive: true });
  await mkdir(join(rootfs, 'work'));
  for (const [path, mode] of [
    ['bin/tool', 0o755],
    ['bin/text', 0o644],
    ['work/local', 0o711],
  ] as const) {
    await writeFile(join(rootfs, path), '');
    await chmod(join(rootfs, path), mode);
  }
  await symlink('/bin/tool', join(rootfs, 'link'));
  await symlink('/proc/self/exe', join(rootfs, 'self'));
  await symlink('/nowhere', join(rootfs, 'dangling'));
});

afterAll(async () => {
  await rm(rootfs, { recursive: true });
});

function check(command: string, env: string[] = []): Promise<void> {
  const spec = containerSpec({
    rootfs,
    image: {},
    overrides: { args: [command], workdir: '/work', env },
    user: { uid: 0, gid: 0, additionalGids: [], home: '/' },
    cgroupMode: 'legacy',
    availableCapabilities: [],
    hostMounts: [],
    callerEnv: {},
  });
  return checkCommand(rootfs, spec);
}

describe('checkCommand', () => {
  test.each(['tool', '/bin/tool', '/link', './local', '../bin/tool', '/proc/self/exe', '/self'])(
    'lets %j pass',
    async (command) => {
      await expect(check(command)).resolves.toBeUndefined();
    },
  );

  test.each([
    ['missing', 127, /"missing": the image has no such file in PATH "\/usr/],
    ['/bin/missing', 127, /"\/bin\/missing": the image has no such file at this path/],
    ['/dangling', 127, /no such file/],
    ['/bin/tool/below', 127, /no such file/],
    ['local', 127, /in PATH/],
    ['folder', 127, /in PATH/],
    ['text', 126, /"text": it is not executable/],
    ['/bin/text', 126, /not executable/],
    ['/bin/folder', 126, /it is a folder/],
  ])('refuses %j with %i', async (command, exitCode, message) => {
    await expect(check(command)).rejects.toMatchObject({
      exitCode,
      message: expect.stringMatching(message) as unknown,
    });
  });

  test('searches the PATH of the container', async () => {
    await expect(check('tool', ['PATH=/work'])).rejects.toMatchObject({ exitCode: 127 });
    await expect(check('local', ['PATH=.:/work'])).resolves.toBeUndefined();
    await expect(check('local', ['PATH=.'])).rejects.toMatchObject({ exitCode: 127 });
  });
});
