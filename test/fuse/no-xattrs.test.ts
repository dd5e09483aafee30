/** A connection on which no file has an extended attribute: the kernel asks once, and programs cope. */

import { chmodSync, copyFileSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MNT, mount, umount } from '#src/ffi/libc.js';
import { must, run } from '../support/sandbox.js';
import { type ServedFolders, fuseMissing, serveFolders } from '../support/served-folders.js';

const missing = fuseMissing();

interface Served {
  folders: ServedFolders;
  /** The layer's own folder, and an overlay on it. */
  layer: string;
  merged: string;
}

async function serve(noXattrs: boolean): Promise<Served> {
  const folders = await serveFolders({ noXattrs });
  const source = await folders.folder('source');
  await must(
    'bash',
    '-ec',
    'mkdir $1/{a,b,c}; for n in {1..60}; do echo $n >$1/a/$n; done',
    '',
    source,
  );
  copyFileSync('/usr/bin/true', join(source, 'program'));
  chmodSync(join(source, 'program'), 0o2755);
  const layer = await folders.add(1, source, { present: true });
  const at = async (name: string): Promise<string> => folders.folder(name);
  const merged = await at('merged');
  const data = `lowerdir=${layer},upperdir=${await at('upper')},workdir=${await at('work')},xino=on`;
  mount({ source: 'overlay', target: merged, type: 'overlay', data: `${data},metacopy=on` });
  return { folders, layer, merged };
}

async function end({ folders, merged }: Served): Promise<void> {
  umount(merged, MNT.DETACH);
  await folders[Symbol.asyncDispose]();
}

function asked({ folders }: Served): number {
  return folders.session.stats().requests['getxattr'] ?? 0;
}

describe.skipIf(missing !== undefined)('a connection without attributes', () => {
  let without: Served;
  let exact: Served;

  beforeAll(async () => {
    without = await serve(true);
    exact = await serve(false);
  }, 60_000);

  afterAll(async () => {
    if (without !== undefined) await end(without);
    if (exact !== undefined) await end(exact);
  });

  it('is asked for one at most, however much of an overlay is read', async () => {
    for (const { merged } of [without, exact]) {
      await must('find', merged, '-printf', '%s');
      await must('bash', '-c', `cat ${merged}/a/*`);
    }
    expect(asked(without)).toBeLessThanOrEqual(1);
    expect(asked(exact)).toBeGreaterThan(50);
  });

  it('has none, and lists none', async () => {
    const path = join(without.layer, 'program');
    const listed = await must('getfattr', '-m', '-', '-d', path);
    expect(listed).toBe('');
    const named = await run('getfattr', ['-n', 'user.some', path]);
    expect(named.stderr).toContain('Operation not supported');
    const exactly = await run('getfattr', ['-n', 'user.some', join(exact.layer, 'program')]);
    expect(exactly.stderr).toContain('No such attribute');
  });

  it.each(['layer', 'merged'] as const)(
    'is copied, run and looked at as any other: %s',
    async (from) => {
      const path = without[from];
      const target = await without.folders.folder(`copies-of-${from}`);
      for (const copy of [
        ['cp', '-a'],
        ['cp', '-a', '--preserve=xattr'],
        ['rsync', '-aXA'],
        ['install', '-p', '-m', '2755'],
      ]) {
        const [program = '', ...flags] = copy;
        const to = join(target, 'copy');
        expect(await run(program, [...flags, join(path, 'program'), to])).toMatchObject({
          code: 0,
          stderr: '',
        });
        expect(readFileSync(to).equals(readFileSync('/usr/bin/true'))).toBe(true);
        expect(statSync(to).mode & 0o7777).toBe(0o2755);
      }
      await must(join(path, 'program'));
      expect(await must('getcap', join(path, 'program'))).toBe('');
      expect(await must('ls', '-lZ', join(path, 'program'))).toContain(' ? ');
      expect(await must('tar', '--xattrs', '--acls', '-cf', '/dev/null', '-C', path, '.')).toBe('');
    },
  );

  it('lets an overlay copy up, rename and set attributes', async () => {
    const { merged } = without;
    mkdirSync(join(merged, 'b/new'));
    await must(
      'bash',
      '-ec',
      'echo more >>$1/a/1; mv $1/c $1/d; rm -r $1/b; mkdir $1/b',
      '',
      merged,
    );
    await must('setfattr', '-n', 'user.mine', '-v', 'yes', join(merged, 'a/2'));
    expect(await must('getfattr', '--only-values', '-n', 'user.mine', join(merged, 'a/2'))).toBe(
      'yes',
    );
    expect(readFileSync(join(merged, 'a/1'), 'utf8')).toBe('1\nmore\n');
    expect(await must('ls', merged)).toBe('a\nb\nd\nprogram\n');
    expect(await must('ls', join(merged, 'b'))).toBe('');
  });
});
