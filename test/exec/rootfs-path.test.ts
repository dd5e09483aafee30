import { ensureDirectoryInRootfs, readInRootfs, resolveInRootfs } from '#src/exec/rootfs-path.js';
import { execFileSync } from 'node:child_process';
import { lstat, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let top: string;
let rootfs: string;

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'siphon-rootfs-'));
  rootfs = join(top, 'rootfs');
  await mkdir(join(rootfs, 'usr/bin'), { recursive: true });
  await writeFile(join(rootfs, 'usr/bin/tool'), 'tool');
  await writeFile(join(top, 'outside'), 'secret');
  await symlink('usr/bin', join(rootfs, 'bin'));
  await symlink('/usr/bin/tool', join(rootfs, 'absolute'));
  await symlink('../../outside', join(rootfs, 'escape'));
  await symlink(join(top, 'outside'), join(rootfs, 'host'));
  await symlink('/new/place', join(rootfs, 'dangling'));
  await symlink('loop', join(rootfs, 'loop'));
  execFileSync('mkfifo', [join(rootfs, 'fifo')]);
});

afterAll(async () => {
  await rm(top, { recursive: true, force: true });
});

describe('resolveInRootfs', () => {
  test.each([
    ['/', '/', true],
    ['', '/', true],
    ['/usr/bin/tool', '/usr/bin/tool', true],
    ['usr//./bin/tool', '/usr/bin/tool', true],
    ['/bin/tool', '/usr/bin/tool', true],
    ['/bin/../tool', '/usr/tool', false],
    ['/absolute', '/usr/bin/tool', true],
    ['/../../outside', '/outside', false],
    ['/escape', '/outside', false],
    ['/dangling', '/new/place', false],
    ['/dangling/deeper', '/new/place/deeper', false],
    ['/usr/bin/tool/below', '/usr/bin/tool/below', false],
  ])('%j is %j, there: %j', async (path, expected, there) => {
    const found = await resolveInRootfs(rootfs, path);
    expect(found.path).toBe(expected);
    expect(found.hostPath).toBe(expected === '/' ? rootfs : join(rootfs, expected));
    expect(found.stats !== undefined).toBe(there);
  });

  test('does not follow a link to the host', async () => {
    const found = await resolveInRootfs(rootfs, '/host');
    expect(found.hostPath).toBe(join(rootfs, top, 'outside'));
    expect(found.stats).toBeUndefined();
  });

  test('gives up on a loop', async () => {
    await expect(resolveInRootfs(rootfs, '/loop')).rejects.toMatchObject({ code: 'invalid' });
  });
});

describe('readInRootfs', () => {
  test.each([
    ['/absolute', 'tool'],
    ['/escape', undefined],
    ['/host', undefined],
    ['/usr', undefined],
    ['/fifo', undefined],
  ])('%j holds %j', async (path, text) => {
    expect((await readInRootfs(rootfs, path, 100))?.toString()).toBe(text);
  });

  test('refuses more than the limit', async () => {
    await expect(readInRootfs(rootfs, '/usr/bin/tool', 3)).rejects.toMatchObject({
      code: 'invalid',
    });
  });
});

describe('ensureDirectoryInRootfs', () => {
  test('makes what is missing, through links, inside', async () => {
    await ensureDirectoryInRootfs(rootfs, '/dangling/work/dir');
    expect((await stat(join(rootfs, 'new/place/work/dir'))).isDirectory()).toBe(true);
    await ensureDirectoryInRootfs(rootfs, '/escape');
    expect((await stat(join(rootfs, 'outside'))).isDirectory()).toBe(true);
    expect((await lstat(join(top, 'outside'))).isFile()).toBe(true);
  });

  test.each(['/usr/bin/tool', '/usr/bin/tool/below'])('refuses %j', async (path) => {
    await expect(ensureDirectoryInRootfs(rootfs, path)).rejects.toMatchObject({ code: 'invalid' });
  });
});
