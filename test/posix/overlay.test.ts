/** A writable overlay over siphon's layers, against one over plain folders: the same is done to both. */

import { createReadStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MNT, mount, umount } from '#src/ffi/libc.js';
import { unpackLayer } from '#src/unpack/unpack-layer.js';
import { must } from '../support/sandbox.js';
import { type ServedFolders, fuseMissing, serveFolders } from '../support/served-folders.js';
import { type Tree, readTree } from '../support/tree.js';

const missing = fuseMissing();
/** What the two lower layers hold; the upper one takes away from the lower one. */
const fill = String.raw`
cd "$1"; mkdir -p moved/below opaque kept removed swapped; head -c 20000000 /dev/urandom > big
echo low > moved/below/file; echo hidden > opaque/hidden; echo gone > gone; echo x > removed/x; echo 1 > kept/one
echo linked > kept/linked; ln kept/linked kept/link; ln -s one kept/symlink; echo low > both; chown 12:34 kept/one
echo a > swapped/a; setfattr -n user.note -v kept kept/one; mkdir -m 1777 sticky
cd "$2"; mkdir opaque moved; : > opaque/.wh..wh..opq; echo only > opaque/only; : > .wh.gone
: > .wh.removed; echo high > both; echo high > moved/high
find "$1" "$2" -exec touch -h -d '2021-03-04 05:06:07 UTC' {} +`;

/** What is done; each prints how it ended. */
const operations: Record<string, string> = {
  'append to a big file that is not here yet': 'printf tail >> big; sha256sum < big',
  'write in the middle of it':
    'printf mid | dd of=big bs=1 seek=9000000 conv=notrunc status=none; sha256sum < big',
  'change attributes only':
    'chmod 600 both; chown 5:6 kept/one; touch -d @1000000000 kept/symlink; stat -c "%a %u %g %s" both kept/one',
  'set an extended attribute': 'setfattr -n user.more -v m kept/one; getfattr -d kept/one',
  'truncate a file': ': > kept/one; stat -c %s kept/one',
  'copy up one of two hard links': 'echo more >> kept/link; cat kept/linked kept/link',
  'remove a file': 'rm both; ls both',
  'remove a folder': 'rm -r opaque; ls opaque',
  'make a folder of a removed one': 'mkdir opaque; ls -A opaque; echo new > opaque/new',
  'make what a lower layer took away': 'echo back > gone; mkdir removed; ls -A removed; cat gone',
  'rename a file': 'mv kept/symlink kept/renamed; readlink kept/renamed; ls kept',
  'rename(2) of a lower folder':
    'python3 -c "import os; os.rename(\'moved\', \'away\')" 2>&1 | grep -o "Errno [0-9]*"; ls',
  'mv of a lower folder': 'mv moved away; find away | sort; ls',
  'rename of a folder made here': 'mkdir mine; echo m > mine/m; mv mine yours; cat yours/m',
  'exchange two names':
    "python3 -c \"import ctypes; print(ctypes.CDLL(None).renameat2(-100, b'big', -100, b'gone', 2))\"; stat -c %s big",
  'remove a folder that only seems empty': 'rm swapped/a; rmdir swapped; ls -d swapped',
  'refuse to remove what is not empty': 'rmdir kept 2>&1 | grep -o "not empty"',
  'a symlink in place of a folder': 'rm -r sticky; ln -s kept sticky; ls sticky/',
};

interface Stack {
  merged: string;
  upper: string;
}

describe.skipIf(missing !== undefined)(`overlay (${missing ?? 'with a writable folder'})`, () => {
  let served: ServedFolders;
  let overSiphon: Stack;
  let overPlain: Stack;

  async function stack(name: string, lower: readonly string[]): Promise<Stack> {
    const folder = await served.folder(name);
    const [merged, upper, work] = ['merged', 'upper', 'work'].map((one) => join(folder, one));
    for (const path of [merged, upper, work]) await mkdir(path ?? '');
    const data = `lowerdir=${lower.join(':')},upperdir=${upper},workdir=${work}`;
    mount({ source: 'overlay', target: merged ?? '', type: 'overlay', data });
    return { merged: merged ?? '', upper: upper ?? '' };
  }

  async function unpacked(number: number): Promise<string> {
    const target = join(served.directory, `plain-${number}`);
    const source = createReadStream(join(served.directory, `${number}.tar`));
    await unpackLayer({ source, target, form: 'overlay', fresh: true });
    return target;
  }

  beforeAll(async () => {
    served = await serveFolders();
    const [low, high] = [await served.folder('low'), await served.folder('high')];
    await must('bash', '-ec', fill, 'fill', low, high);
    const lazy = [await served.add(2, high), await served.add(1, low)];
    overSiphon = await stack('over-siphon', lazy);
    overPlain = await stack('over-plain', [await unpacked(2), await unpacked(1)]);
  }, 60_000);

  afterAll(async () => {
    for (const one of [overSiphon, overPlain])
      if (one !== undefined) umount(one.merged, MNT.DETACH);
    await served?.[Symbol.asyncDispose]();
  });

  function run(script: string, { merged }: Stack): Promise<string> {
    return must('bash', '-c', `cd "$1"; { ${script}; } 2>&1; :`, 'bash', merged);
  }

  /** Times of what the operations wrote are the clock's. */
  async function readWithoutTimes(folder: string): Promise<Tree> {
    const tree = await readTree(folder);
    for (const entry of Object.values(tree)) delete entry.mtime;
    return tree;
  }

  it('shows the same before anything is done, and reads nothing for that', async () => {
    const list = String.raw`find . -mindepth 1 -printf '%p %y %m %U %G %T@ %l\n' -type f -printf '%s\n' | sort`;
    expect(await run(list, overSiphon)).toBe(await run(list, overPlain));
    expect(served.session.stats().misses).toBe(0);
  });

  it.each(Object.entries(operations))('%s', async (_, script) => {
    expect(await run(script, overSiphon)).toBe(await run(script, overPlain));
  });

  it('shows and holds the same afterwards', async () => {
    for (const folder of ['merged', 'upper'] as const) {
      const wanted = await readWithoutTimes(overPlain[folder]);
      expect(await readWithoutTimes(overSiphon[folder]), folder).toEqual(wanted);
    }
    expect(Object.keys(await readTree(overSiphon.upper)).length).toBeGreaterThan(20);
    expect(served.session.stats().misses).toBeGreaterThan(0);
  });
});
