/** `siphon mount` by somebody who is not root, where everybody may open /dev/fuse, as udev has it. */

import { spawnSync } from 'node:child_process';
import { chmod, chown, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { device, file, tarOf } from '../support/images.js';
import { type Outcome, type Sandbox, must, openSandbox, run } from '../support/sandbox.js';
import { fuseMissing } from '../support/served-folders.js';

const siphon = fileURLToPath(new URL('../../bin/siphon', import.meta.url));
const nobody = 65_534;
const noHelper = spawnSync('fusermount', ['-V']).status !== 0;
const missing = fuseMissing() ?? (noHelper ? 'needs fusermount (package fuse)' : undefined);
const list = String.raw`find . -printf '%p %y %m %U %G %l\n' 2>&1 | sort; find . -type f -exec sha256sum {} + 2>&1 | sort`;

describe.skipIf(missing !== undefined)(`siphon mount (${missing ?? 'by nobody'})`, () => {
  let sandbox: Sandbox;
  let image: DemoLayout;
  let home: string;

  beforeAll(async () => {
    sandbox = await openSandbox();
    await chmod(sandbox.directory, 0o755);
    image = await writeSmallLayout(sandbox);
    home = await sandbox.folder('home');
    await mkdir(join(home, 'mnt'));
    for (const path of [home, join(home, 'mnt')]) await chown(path, nobody, nobody);
    const device = join(sandbox.directory, 'fuse');
    await must('mknod', '-m', '666', device, 'c', '10', '229');
  }, 60_000);

  afterAll(() => sandbox?.[Symbol.asyncDispose]());

  /** Runs a script as nobody, in a mount namespace that root has prepared. `siphon` is a function. */
  function asNobody(script: string, prepare = ':'): Promise<Outcome> {
    const outer = `mount --bind "$1/fuse" /dev/fuse && ${prepare} && exec setpriv --reuid ${nobody} --regid ${nobody} \
      --clear-groups env HOME="$2" bash -c "$3" bash "$1" "$2"`;
    const program = `'${process.execPath}' '${siphon}' --root '${home}/root' "$@"`;
    const inner = `cd "$2"; siphon() { ${program}; }; ${script}`;
    const args = ['--mount', 'bash', '-c', outer, 'bash', sandbox.directory, home, inner];
    return run('unshare', args);
  }

  const mount = (): string => `siphon mount '${image.source}' mnt`;

  it('shows the merged tree, lazily, and says once what it cannot show', async () => {
    const kernel = await sandbox.folder('kernel');
    const mounted = await sandbox.siphon('mount', '--driver', 'kernel', image.source, kernel);
    expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
    const expected = await asNobody(`cd '${kernel}'; ${list}`);
    expect((await sandbox.siphon('umount', kernel)).code).toBe(0);
    const steps = `${mount()} && (cd mnt; ${list}); siphon umount mnt || exit; ls -A mnt`;
    const first = await asNobody(steps);
    expect(first, first.stderr).toMatchObject({ code: 0, stdout: expected.stdout });
    expect(first.stderr).toContain('names that are not UTF-8');
    const again = await asNobody(steps);
    expect(again).toMatchObject({ code: 0, stdout: expected.stdout });
    expect(again.stderr).not.toContain('names that are not UTF-8');
    expect(await readdir(join(home, 'root/mounts'))).toEqual([]);
  });

  it('lends nobody the rights of set-id files, and opens no devices', async () => {
    const tar = join(sandbox.directory, 'rights.tar');
    const [root, mode] = [{ uid: 0, gid: 0 }, 0o666];
    await writeFile(
      tar,
      await tarOf([
        file('id', await readFile('/usr/bin/id'), { ...root, mode: 0o6755 }),
        device('null', { major: 1, minor: 3 }, { ...root, mode }),
      ]),
    );
    const steps = `stat -c '%A %u' id null; ./id -u; ./id -g; cat null`;
    const outcome = await asNobody(
      `siphon mount '${tar}' mnt && (cd mnt; ${steps}); siphon umount mnt`,
    );
    const shown = ['-rwsr-sr-x 0', 'crw-rw-rw- 0', nobody, nobody];
    expect(outcome.stdout, outcome.stderr).toBe(`${shown.join('\n')}\n`);
    expect(outcome.stderr).toContain('cat: null: Permission denied');
  });

  it.each([
    [
      'fusermount',
      'mount --bind /dev/null "$(command -v fusermount)"',
      '"fusermount" is missing, expected Debian\'s package "fuse" to be installed',
    ],
    [
      'libfuse',
      'mount --bind /dev/null "$(realpath "$(ldconfig -p | sed -n "s/.*libfuse.so.2.* => //p" | head -n 1)")"',
      'libfuse 2.9 is missing, expected Debian\'s package "libfuse2" to be installed',
    ],
    [
      'permission to open the device',
      'mount --bind /dev/null /dev/fuse && chmod 600 "$1/fuse" && mount --bind "$1/fuse" /dev/fuse',
      '"/dev/fuse" may not be opened, expected the module "fuse" and mode 0666, as udev gives it',
    ],
  ])('says in one sentence that %s is missing', async (_, prepare, sentence) => {
    const outcome = await asNobody(mount(), prepare);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr.trim()).toBe(`siphon: Cannot mount through libfuse: ${sentence}`);
  });

  it('ends well where the mount is taken away before it has begun', async () => {
    const hasty = await sandbox.folder('hasty');
    const script = `#!/bin/sh
for last do :; done
PATH=\${PATH#*:}
fusermount "$@" && fusermount -u "$last"`;
    await writeFile(join(hasty, 'fusermount'), script, { mode: 0o755 });
    const outcome = await asNobody(`PATH="$1/hasty:$PATH"; ${mount()} --foreground; ls -A mnt`);
    expect(outcome, outcome.stderr).toMatchObject({ code: 0, stdout: '' });
    expect(await readdir(join(home, 'root/mounts'))).toEqual([]);
  });

  it('leaves the kernel driver to root', async () => {
    const outcome = await asNobody(`${mount()} --driver kernel`);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain('this needs root');
  });
});
