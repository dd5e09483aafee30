/** A mounted tree, looked at with the programs that people look with. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  unlinkSync,
  statfsSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '#src/common/log.js';
import { FuseSession } from '#src/fuse/fuse-session.js';
import { listMounts } from '#src/common/mount-info.js';
import { must, run } from '../support/sandbox.js';
import { type ServedFolders, fuseMissing, serveFolders } from '../support/served-folders.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { readTree } from '../support/tree.js';

const missing = fuseMissing();
const bigDirectory = 10_000;

describe.skipIf(missing !== undefined)(`FuseSession (${missing ?? 'mounted'})`, () => {
  let served: ServedFolders;
  let source: string;
  let tree: string;

  beforeAll(async () => {
    served = await serveFolders();
    source = await served.folder('source');
    await fillSource(source);
    tree = await served.add(1, source, { present: true });
  });

  afterAll(() => served[Symbol.asyncDispose]());

  it('shows the same tree as the folder, in every attribute', async () => {
    expect(await readTree(tree)).toEqual(await readTree(source));
  });

  it('is found by find as the folder is', async () => {
    const format = '%P %y %m %U:%G %s %T@ %n %l\\n';
    const list = async (root: string): Promise<string[]> =>
      (await must('find', root, '!', '-type', 'd', '-printf', format)).split('\n').sort();
    expect(await list(tree)).toEqual(await list(source));
  });

  it('gives hard links one inode number, and every file another', async () => {
    const [a, b] = ['hard/a', 'hard/b'].map((path) =>
      lstatSync(join(tree, path), { bigint: true }),
    );
    expect(a?.ino).toBe(b?.ino);
    expect(a?.nlink).toBe(2n);
    const numbers = (await must('find', tree, '-printf', '%i %P\\n')).trim().split('\n');
    const distinct = new Set(numbers.map((line) => line.split(' ')[0]));
    expect(distinct.size).toBe(numbers.length - 1);
  });

  it('lists . and .. with their inode numbers', async () => {
    const script = `
import os, ctypes, sys
libc = ctypes.CDLL(None)
class D(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_uint64), ('off', ctypes.c_int64), ('len', ctypes.c_ushort), ('type', ctypes.c_ubyte), ('name', ctypes.c_char * 256)]
libc.opendir.restype = ctypes.c_void_p; libc.readdir.restype = ctypes.POINTER(D); libc.readdir.argtypes = [ctypes.c_void_p]
d = libc.opendir(sys.argv[1].encode()); found = {}
while True:
    e = libc.readdir(d)
    if not e: break
    found[e.contents.name] = e.contents.ino
assert found[b'.'] == os.stat(sys.argv[1]).st_ino, found
assert found[b'..'] == os.stat(os.path.dirname(sys.argv[1])).st_ino, found
`;
    if ((await run('python3', ['--version'])).code !== 0) return;
    await must('python3', '-c', script, join(tree, 'hard'));
    await must('python3', '-c', script, tree);
  });

  it('lists a big directory, also from the middle on', async () => {
    const folder = await served.folder('big');
    await must('bash', '-c', `cd '${folder}'; seq -f 'e-%g' ${bigDirectory} | xargs touch`);
    const big = await served.add(2, folder);
    expect(readdirSync(big)).toHaveLength(bigDirectory);
    const script = `
opendir(my $d, $ARGV[0]) or die;
my @all; my @at;
while (1) {
  push @at, telldir($d);
  my $name = readdir($d);
  last unless defined $name;
  push @all, $name;
}
die "entries" unless @all == $ARGV[1] + 2;
for my $n (9999, 0, 5000, 3, 7777) {
  seekdir($d, $at[$n]);
  die "seek $n" unless readdir($d) eq $all[$n];
}
rewinddir($d);
die "rewind" unless readdir($d) eq $all[0];
`;
    await must('perl', '-e', script, big, String(bigDirectory));
  });

  it('reads across the end, at offsets, mapped and from several places at once', async () => {
    const large = readFileSync(join(tree, 'large'));
    expect(large.equals(readFileSync(join(source, 'large')))).toBe(true);
    const tail = `tail -c 5 '${tree}/large' | cmp - <(tail -c 5 '${source}/large')`;
    await must('bash', '-c', tail);
    expect(await must('dd', `if=${tree}/text`, 'bs=1M', 'skip=1', 'status=none')).toBe('');
    await must(
      'bash',
      '-c',
      `dd if='${tree}/text' iflag=direct bs=4096 status=none | grep -q hello`,
    );
    await must('grep', '-c', 'hello', join(tree, 'text'));
    await must('cmp', join(tree, 'large'), join(source, 'large'));
  });

  it('tells extended attributes, their sizes and their absence', async () => {
    const path = join(tree, 'text');
    expect(await must('getfattr', '-n', 'user.note', '--only-values', path)).toBe('kept');
    const { stderr } = await run('getfattr', ['-n', 'user.other', path]);
    expect(stderr).toContain('No such attribute');
    expect(await must('getfattr', '-d', '--absolute-names', join(tree, 'empty'))).toBe('');
    const probe = `
import os, errno, ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
path = sys.argv[1].encode()
assert libc.getxattr(path, b'user.note', None, 0) == 4
buffer = ctypes.create_string_buffer(3)
assert libc.getxattr(path, b'user.note', buffer, 3) == -1 and ctypes.get_errno() == errno.ERANGE
size = libc.listxattr(path, None, 0)
assert size >= 10
assert libc.listxattr(path, buffer, 3) == -1 and ctypes.get_errno() == errno.ERANGE
`;
    if ((await run('python3', ['--version'])).code === 0) await must('python3', '-c', probe, path);
  });

  it.each([
    ['a new file', (path: string) => writeFileSync(join(path, 'made'), '')],
    ['an old file', (path: string) => openSync(join(path, 'text'), 'r+')],
    ['a folder', (path: string) => mkdirSync(join(path, 'made'))],
    ['a link', (path: string) => linkSync(join(path, 'text'), join(path, 'made'))],
    ['a symbolic link', (path: string) => symlinkSync('text', join(path, 'made'))],
    ['a removal', (path: string) => unlinkSync(join(path, 'text'))],
    ['a mode', (path: string) => chmodSync(join(path, 'text'), 0o600)],
    ['a time', (path: string) => utimesSync(join(path, 'text'), 1, 1)],
    ['a size', (path: string) => truncateSync(join(path, 'text'), 1)],
    ['the root', (path: string) => mkdirSync(join(path, '..', '99'))],
  ])('answers EROFS to writing %s', (_, write) => {
    expect(() => write(tree)).toThrow(expect.objectContaining({ code: 'EROFS' }));
  });

  it('keeps to modes and owners for those who are not root', async () => {
    const asNobody = (...command: string[]): ReturnType<typeof run> =>
      run('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', ...command]);
    chmodSync(served.directory, 0o755);
    expect((await asNobody('cat', join(tree, 'text'))).stdout).toBe('hello\n');
    expect((await asNobody('cat', join(tree, 'secret'))).stderr).toContain('Permission denied');
  });

  it('shows the file system of the caches', () => {
    const [mount, real] = [statfsSync(tree), statfsSync(served.directory)];
    expect([mount.blocks, mount.bsize]).toEqual([real.blocks, real.bsize]);
  });

  it('finds no data where there is none to be found', async () => {
    const script = `
import os, sys, errno
f = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(f).st_size
assert os.lseek(f, 0, os.SEEK_DATA) == 0
assert os.lseek(f, 5, os.SEEK_HOLE) == size
try: os.lseek(f, size, os.SEEK_DATA); sys.exit('no ENXIO')
except OSError as e: assert e.errno == errno.ENXIO
`;
    if ((await run('python3', ['--version'])).code === 0)
      await must('python3', '-c', script, join(tree, 'large'));
  });

  it('asks nothing again that it knows', async () => {
    let drops: string[];
    let before: Record<string, number>;
    let after: Record<string, number>;
    // What the kernel knows goes whenever anybody on this machine has it drop its caches, as other tests do.
    do {
      drops = cacheDrops();
      await must('find', tree, '-printf', '%s\\n');
      before = served.session.stats().requests;
      await must('find', tree, '-printf', '%s\\n');
      after = served.session.stats().requests;
    } while (cacheDrops().join() !== drops.join());
    for (const operation of ['lookup', 'readdirplus', 'readdir', 'readlink']) {
      expect([operation, after[operation]]).toEqual([operation, before[operation]]);
    }
  });
});

describe.skipIf(missing !== undefined)('FuseSession.addLayer and removeLayer', () => {
  it('show and hide layers while others are in use', async () => {
    await using served = await serveFolders();
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), 'one');
    const { mountPoint } = served.session;
    expect(readdirSync(mountPoint)).toEqual([]);
    expect(existsSync(served.session.layerPath(7))).toBe(false);
    const first = await served.add(7, source, { present: true });
    expect(readFileSync(join(first, 'file'), 'utf8')).toBe('one');
    await served.add(12, source, { present: true });
    await expect.poll(() => readdirSync(mountPoint)).toEqual(['12', '7']);
    expect(lstatSync(mountPoint).nlink).toBe(4);
    served.session.removeLayer(7);
    await expect.poll(() => readdirSync(mountPoint)).toEqual(['12']);
    await expect.poll(() => existsSync(first)).toBe(false);
    expect(existsSync(join(served.session.layerPath(12), 'file'))).toBe(true);
  });

  it('leaves no file of a removed layer open', async () => {
    await using served = await serveFolders({ workers: 3 });
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), 'one');
    const tree = await served.add(1, source, { present: true });
    for (let n = 0; n < 20; n += 1) await must('getfattr', '-d', tree);
    const isOpen = (): boolean =>
      openFiles().some((path) => path.startsWith(`${served.directory}/1.`));
    expect(isOpen()).toBe(true);
    served.session.removeLayer(1);
    await expect.poll(isOpen).toBe(false);
  });

  it('answer ESTALE in what is still open of a removed layer', async () => {
    await using served = await serveFolders();
    const source = await served.folder('source');
    mkdirSync(join(source, 'folder'));
    writeFileSync(join(source, 'folder', 'file'), 'one');
    const tree = await served.add(1, source, { present: true });
    const shell = await shellIn(join(tree, 'folder'));
    served.session.removeLayer(1);
    expect((await shell.readFile()).output).toMatch(/Stale|No such file/);
  });
});

describe.skipIf(missing !== undefined)('FuseSession under failures', () => {
  it('answers EIO where an operation throws, and goes on', async () => {
    const lines: string[] = [];
    const log = createLogger('error');
    log.error = (...args: unknown[]) => lines.push(String(args.at(-1)));
    await using served = await serveFolders({ log });
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), 'one');
    await served.add(1, source, { present: true });
    const broken = join(served.directory, 'broken.index');
    writeFileSync(broken, 'this is no index');
    served.session.addLayer({
      number: 2,
      indexPath: broken,
      cachePath: broken,
      presence: new SharedArrayBuffer(1),
    });
    for (let n = 0; n < 20; n += 1) {
      expect(() => readdirSync(served.session.layerPath(2))).toThrow(
        expect.objectContaining({ code: 'EIO' }),
      );
    }
    expect(readdirSync(served.session.layerPath(1))).toEqual(['file']);
    expect(readdirSync(served.session.mountPoint)).toEqual(['1', '2']);
    await expect.poll(() => lines.length).toBe(1);
    expect(lines[0]).toContain('a FUSE request failed');
  });
});

describe.skipIf(missing !== undefined)('FuseSession.unmount', () => {
  it('refuses while the mount is in use, goes on then, and can be repeated', async () => {
    await using served = await serveFolders();
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), 'one');
    const tree = await served.add(1, source, { present: true });
    const shell = await shellIn(tree);
    await expect(served.session.unmount()).rejects.toMatchObject({ code: 'busy' });
    expect(await shell.readFile()).toEqual({ code: 0, output: 'one' });
    await served.session.unmount();
    await served.session.unmount();
    expect(await isMounted(served.session.mountPoint)).toBe(false);
    expect(readdirSync(served.session.mountPoint)).toEqual([]);
    expect(() => served.session.addLayer(noLayer)).toThrow(
      expect.objectContaining({ code: 'failed-precondition' }),
    );
  });

  it('ends at once when lazy, whoever uses the mount', async () => {
    await using served = await serveFolders();
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), 'one');
    const tree = await served.add(1, source, { present: true });
    const shell = await shellIn(tree);
    await served.session.unmount({ lazy: true });
    expect(await isMounted(served.session.mountPoint)).toBe(false);
    expect((await shell.readFile()).code).not.toBe(0);
  });

  it('ends by itself when somebody else unmounts', async () => {
    await using served = await serveFolders();
    await must('umount', served.session.mountPoint);
    await served.session.ended;
    expect(openFiles()).not.toContain('/dev/fuse');
  });
});

describe.skipIf(missing !== undefined)('a process with a FuseSession', () => {
  const program = (end: string): string => `
    import { FuseSession } from '#src/fuse/fuse-session.js';
    const session = await FuseSession.mount({ mountPoint: process.argv[1], fetch: async () => {} });
    process.stdout.write('mounted');
    ${end}`;

  it.each([
    ['process.exit', 'process.exit(3);', 3],
    ['an exception', "setTimeout(() => { throw new Error('on purpose'); }, 10);", 1],
    ['unmount', 'await session.unmount();', 0],
  ])('ends by %s and leaves no mount', async (_, end, code) => {
    await using folder = await temporaryFolder();
    const outcome = await run(process.execPath, [
      '--input-type=module',
      '-e',
      program(end),
      folder.path,
    ]);
    expect(outcome).toMatchObject({ code, stdout: 'mounted' });
    expect(await isMounted(folder.path)).toBe(false);
  });

  it('leaves a mount that can be cleaned when it is killed', async () => {
    await using folder = await temporaryFolder();
    const end = "process.kill(process.pid, 'SIGKILL');";
    await run(process.execPath, ['--input-type=module', '-e', program(end), folder.path]);
    expect(() => readdirSync(folder.path)).toThrow(expect.objectContaining({ code: 'ENOTCONN' }));
    await expect(
      FuseSession.mount({ mountPoint: folder.path, fetch: () => Promise.resolve() }),
    ).rejects.toMatchObject({ code: 'busy' });
    await must('umount', folder.path);
    expect(readdirSync(folder.path)).toEqual([]);
  });
});

describe.skipIf(missing !== undefined)('FuseSession.mount', () => {
  const fetch = (): Promise<void> => Promise.resolve();

  it('says what is wrong with the mount point', async () => {
    await using folder = await temporaryFolder();
    writeFileSync(join(folder.path, 'file'), '');
    const absent = join(folder.path, 'absent');
    await expect(FuseSession.mount({ mountPoint: absent, fetch })).rejects.toMatchObject({
      code: 'not-found',
      message: `Cannot mount on "${absent}": it does not exist, expected a directory`,
    });
    const file = join(folder.path, 'file');
    await expect(FuseSession.mount({ mountPoint: file, fetch })).rejects.toMatchObject({
      code: 'invalid',
    });
  });

  it('says that it needs root', async () => {
    await using folder = await temporaryFolder();
    chmodSync(folder.path, 0o777);
    const script = `
      process.setgroups([]); process.setgid(65534); process.setuid(65534);
      const { FuseSession } = await import('#src/fuse/fuse-session.js');
      await FuseSession.mount({ mountPoint: process.argv[1], fetch: async () => {} })
        .catch((error) => console.log(error.code, error.message));`;
    const { stdout } = await run(process.execPath, [
      '--input-type=module',
      '-e',
      script,
      folder.path,
    ]);
    expect(stdout).toMatch(/^permission Cannot (open|mount)/);
  });

  it('sets the readahead', async () => {
    await using served = await serveFolders({ readAheadKb: 640 });
    const { dev } = lstatSync(served.session.mountPoint);
    const path = `/sys/class/bdi/0:${dev & 0xff}/read_ahead_kb`;
    expect(readFileSync(path, 'utf8').trim()).toBe('640');
  });
});

const noLayer = {
  number: 1,
  indexPath: '/nonexistent',
  cachePath: '/nonexistent',
  presence: new SharedArrayBuffer(1),
};

async function isMounted(path: string): Promise<boolean> {
  return (await listMounts()).some((entry) => entry.mountPoint === path);
}

/** How often the kernel was told to drop its caches, by kind. */
function cacheDrops(): string[] {
  return readFileSync('/proc/vmstat', 'utf8').match(/^drop_.*$/gm) ?? [];
}

interface Shell {
  /** Has it read `file` in its folder, and end. */
  readFile(): Promise<{ code: number; output: string }>;
}

/** A shell that stands in `folder`, once this resolves. */
async function shellIn(folder: string): Promise<Shell> {
  const script = 'cd "$1" && echo here && read -r && cat file 2>&1';
  const child = spawn('bash', ['-c', script, 'bash', folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  await once(child.stdout, 'data');
  expect(output).toBe('here\n');
  return {
    async readFile() {
      output = '';
      child.stdin.end('\n');
      const [code] = (await closed) as [number];
      return { code, output };
    },
  };
}

function openFiles(): string[] {
  return readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
}

/** A tree of every kind of thing that a layer may hold. */
async function fillSource(source: string): Promise<void> {
  const script = `
    cd "$1"
    echo hello > text; : > empty; echo secret > secret; chmod 600 secret
    setfattr -n user.note -v kept text
    head -c 3000001 /dev/urandom > large
    mkdir hard; echo linked > hard/a; ln hard/a hard/b
    ln -s ../text hard/symbolic; ln -s "$(head -c 3000 /dev/zero | tr '\\0' x)" long-link
    cp /bin/true setuid; chmod 4755 setuid; mkdir -m 1777 sticky
    mknod character c 5 1; mknod block b 259 70000; mkfifo pipe
    chown 1000:2000 empty; chown 3000000:4000000 sticky
    touch -d '1969-12-31 23:59:58.5 UTC' old; touch -d '2100-01-01 00:00:00.123456789 UTC' new
    touch "$(printf 'not\\377utf8')" "$(printf 'line\\nbreak')" 'a space' "$(head -c 255 /dev/zero | tr '\\0' n)"
    mkdir -p deep/er/and/deeper; echo found > deep/er/and/deeper/file
    `;
  await must('bash', '-ec', script, 'fill', source);
}
