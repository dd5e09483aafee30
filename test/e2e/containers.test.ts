/** The life of containers of `siphon run`, command by command. */

import { existsSync } from 'node:fs';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { awaitSignals } from '../support/await-signals.js';
import { writeContainerImage } from '../support/container-image.js';
import { removeContainers } from '../support/remove-containers.js';
import { type Outcome, type Sandbox, must, openSandbox, run } from '../support/sandbox.js';
import { until } from '../support/until.js';

const skip = process.getuid?.() !== 0;

let sandbox: Sandbox;
let source: string;

beforeAll(async () => {
  if (skip) return;
  sandbox = await openSandbox({ USER: 'somebody', HERE: 'here', UNSET: undefined });
  const config = {
    StopSignal: 'SIGUSR1',
    Cmd: ['sh', '-c', 'echo from the image'],
    Labels: { a: 'of the image', b: 'of the image' },
  };
  ({ source } = await writeContainerImage(sandbox.directory, config));
}, 60_000);

afterEach(async () => {
  if (skip) return;
  await removeContainers(sandbox);
  expect(await sandbox.mounts()).toEqual([]);
  const left = await readdir(join(sandbox.root, 'run')).catch(() => []);
  expect(left).toEqual([]);
});

afterAll(() => sandbox?.[Symbol.asyncDispose]());

const siphon = (...args: string[]): Promise<Outcome> => sandbox.siphon(...args);

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await siphon(...args);
  expect(code, stderr).toBe(0);
  return stdout;
}

interface Facts {
  id: string;
  status: string;
  pid: number;
  exitCode: number;
  outOfMemory: boolean;
  rootfs: string;
  labels: Record<string, string>;
}

async function facts(name: string): Promise<Facts | undefined> {
  const all = JSON.parse(await ok('ps', '--all', '--json')) as Facts[];
  return all.find(({ id }) => id === name);
}

async function keeperOf(name: string): Promise<number> {
  const text = await readFile(join(sandbox.root, 'run', name, 'state.json'), 'utf8');
  return (JSON.parse(text) as { monitor: { pid: number } }).monitor.pid;
}

/** Processes of node whose command lines have these words. */
async function commandsWith(...wanted: string[]): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const line = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
      const [program = ''] = line.split('\0');
      return program.endsWith('node') && wanted.every((word) => line.includes(word)) ? [pid] : [];
    }),
  );
  return found.flat().map(Number);
}

describe.skipIf(skip)('containers of siphon run: needs root', () => {
  it('go on in the background; ps, logs, exec, kill, wait, rm', async () => {
    // Of two streams nobody can say which was written to first, unless one was read before.
    const script =
      'echo two >&2; until [ -e /tmp/seen ]; do sleep 0.1; done; echo one; echo three; printf end; while :; do sleep 1; done';
    expect(await ok('run', '-d', '--name', 'c', '--label', 'a=b', source, 'sh', '-c', script)).toBe(
      'c\n',
    );
    expect(await facts('c')).toMatchObject({
      status: 'running',
      labels: { a: 'b', b: 'of the image' },
    });
    expect(await ok('ps')).toMatch(/^NAME .*\nc +oci:.* running +\d+\n$/);
    await until(async () => (await siphon('logs', 'c')).stderr === 'two\n');
    await ok('exec', 'c', 'sh', '-c', 'echo >/tmp/seen');
    await until(async () => (await siphon('logs', 'c')).stdout.endsWith('end'));
    expect(await siphon('logs', 'c')).toMatchObject({
      stdout: 'one\nthree\nend',
      stderr: 'two\n',
    });
    expect((await siphon('logs', '--tail', '2', 'c')).stdout).toBe('three\nend');
    expect(
      await siphon(
        'exec',
        '-e',
        'A=1',
        '-u',
        'ann',
        '-w',
        '/etc',
        'c',
        'sh',
        '-c',
        'echo $A $HOME; pwd; id -u; exit 5',
      ),
    ).toMatchObject({ code: 5, stdout: '1 /home/ann\n/etc\n1000\n' });
    await ok('exec', '-d', 'c', 'sh', '-c', 'echo lost; echo kept >/tmp/detached; exec sleep 60');
    expect(await siphon('exec', '-dt', 'c', 'id')).toMatchObject({ code: 2 });
    const kept = async () => (await siphon('exec', 'c', 'cat', '/tmp/detached')).stdout;
    await until(async () => (await kept()) === 'kept\n');
    for (const [code, message, ...words] of [
      [127, 'Cannot run "no-such": the image has no such file in PATH', 'no-such'],
      [127, 'Cannot run "/no": the image has no such file at this path', '/no'],
      [126, 'Cannot run "/etc/passwd": it is not executable', '/etc/passwd'],
      [125, 'Cannot run a command in folder "/no"', '-w', '/no', 'id'],
    ] as const) {
      const [options, command] =
        words.length > 1 ? [words.slice(0, -1), words.slice(-1)] : [[], words];
      const { stderr, ...failed } = await siphon('exec', ...options, 'c', ...command);
      expect(failed.code).toBe(code);
      // One sentence, and nothing of the runtime's own.
      expect(stderr).toMatch(/^siphon: .*\n$/);
      expect(stderr).toContain(message);
    }
    expect(await siphon('rm', 'c')).toMatchObject({ code: 1 });
    const followed = siphon('logs', '-f', 'c');
    await ok('kill', '-s', 'SIGKILL', 'c');
    expect(await ok('wait', 'c')).toBe('137\n');
    expect((await followed).stdout).toBe('one\nthree\nend');
    expect(await ok('ps', '--all')).toContain('exited (137)');
    expect(await ok('ps', '--quiet')).toBe('');
    await ok('rm', 'c');
  }, 120_000);

  it('pause and go on', async () => {
    await ok('run', '-d', '--name', 'p', source, 'sh', '-c', 'while :; do sleep 1; done');
    await ok('pause', 'p');
    expect(await facts('p')).toMatchObject({ status: 'paused' });
    expect(await siphon('exec', 'p', 'id')).toMatchObject({ code: 125 });
    expect(await siphon('run', '--name', 'p', source)).toMatchObject({ code: 125 });
    expect(await siphon('run', '--user', 'nobody', source)).toMatchObject({ code: 125 });
    expect(await siphon('run', '--memory', 'x', source)).toMatchObject({ code: 2 });
    const absent = await siphon('run', '--mount', 'type=bind,source=/no/such,target=/x', source);
    expect(absent).toMatchObject({ code: 125, stdout: '' });
    expect(absent.stderr).toMatch(
      /^siphon: Cannot show "\/no\/such" in the container as "\/x": .*$/m,
    );
    expect(absent.stderr).not.toContain('runc');
    await ok('resume', 'p');
    expect(await facts('p')).toMatchObject({ status: 'running' });
    await ok('pause', 'p');
    await ok('rm', '--force', 'p');
    expect(await facts('p')).toBeUndefined();
  }, 60_000);

  it("stop by their image's signal, keep what they wrote, and start again", async () => {
    const script = `cat /kept 2>/dev/null; echo again >>/kept; trap "exit 9" USR1; echo up; ${awaitSignals}`;
    expect(await ok('create', '--name', 's', source, 'sh', '-c', script)).toBe('s\n');
    expect(await facts('s')).toMatchObject({ status: 'created' });
    await ok('start', 's');
    await until(async () => (await siphon('logs', 's')).stdout === 'up\n');
    await ok('stop', '--time', '30', 's');
    expect(await facts('s')).toMatchObject({ status: 'exited', exitCode: 9 });
    await ok('start', 's');
    await until(async () => (await siphon('logs', 's')).stdout === 'up\nagain\nup\n');
    expect(await siphon('start', 's')).toMatchObject({ code: 1 });
    await ok('stop', '--time', '30', 's');
  }, 60_000);

  it('are removed by --rm also in the background, and when they never start', async () => {
    await ok('run', '-d', '--rm', '--name', 'r', source, 'sh', '-c', 'exit 0');
    await until(async () => (await facts('r')) === undefined);
    const missing = await siphon('run', '-d', '--name', 'm', source, 'no-such');
    expect(missing).toMatchObject({ code: 127 });
    expect(missing.stderr).toContain('no-such');
    expect(await facts('m')).toBeUndefined();
  }, 60_000);

  it('stay in the foreground without --rm, and say when memory ran out', async () => {
    const script = 'x=aaaaaaaa; while :; do x=$x$x; done';
    const { code } = await siphon(
      'run',
      '--memory',
      '16m',
      '--name',
      'o',
      source,
      'sh',
      '-c',
      script,
    );
    expect(code).toBe(137);
    expect(await facts('o')).toMatchObject({ status: 'exited', exitCode: 137, outOfMemory: true });
    expect(await ok('ps', '-a')).toContain('exited (137), out of memory');
  }, 60_000);

  it('keep what they print in the foreground too, but for those of --rm', async () => {
    const script = 'echo out; echo err >&2; exit 3';
    const ended = await siphon('run', '--name', 'k', source, 'sh', '-c', script);
    expect(ended).toMatchObject({ code: 3, stdout: 'out\n' });
    expect(ended.stderr).toMatch(/^err\n/m);
    expect(await siphon('logs', 'k')).toMatchObject({ stdout: 'out\n', stderr: 'err\n' });
    // A reader that goes away ends who writes.
    const line = `${process.execPath} bin/siphon --root ${sandbox.root} run --name h ${source} sh -c 'while echo x; do :; done'`;
    expect((await run('sh', ['-c', `${line} | head -1`])).stdout).toBe('x\n');
    expect(await facts('h')).toMatchObject({ status: 'exited' });
    const going = siphon('run', '--rm', '--name', 'g', source, 'sleep', '60');
    await until(async () => (await facts('g'))?.status === 'running');
    expect(await siphon('logs', 'g')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('expected one without --rm'),
    });
    await ok('kill', 'g');
    expect(await going).toMatchObject({ code: 137 });
  }, 60_000);

  it('take what is written to an attached command', async () => {
    await ok(
      'run',
      '-d',
      '-i',
      '--name',
      'i',
      source,
      'sh',
      '-c',
      'read a; echo "got $a"; cat; exit 4',
    );
    const command = `printf 'x\\nrest' | ${process.execPath} bin/siphon --root ${sandbox.root} attach i`;
    const { code, stdout, stderr } = await run('sh', ['-c', command]);
    expect({ code, stdout }, stderr).toEqual({ code: 4, stdout: 'got x\nrest' });
  }, 60_000);

  it('are lost to ps and can be removed when their keeper is killed', async () => {
    await ok('run', '-d', '--name', 'l', source, 'sh', '-c', 'while :; do sleep 1; done');
    const { pid = 0 } = (await facts('l')) ?? {};
    process.kill(await keeperOf('l'), 'SIGKILL');
    await until(async () => (await facts('l'))?.status === 'lost');
    expect(await siphon('attach', 'l')).toMatchObject({ code: 1 });
    await ok('rm', 'l');
    await until(() => Promise.resolve(!existsSync(`/proc/${pid}`)));
  }, 60_000);

  it('do not notice when the server of their files is killed', async () => {
    await ok('run', '-d', '--name', 'f', source, 'sleep', '60');
    const servers = await commandsWith('serve-layers', join(sandbox.root, 'run/f/image'));
    expect(servers.length).toBeGreaterThan(0);
    for (const pid of servers) process.kill(pid, 'SIGKILL');
    expect(await ok('exec', 'f', 'cat', '/etc/group')).toContain('audio:x:29:ann');
    const [server = 0] = await commandsWith('serve-layers', join(sandbox.root, 'run/f/image'));
    expect(servers).not.toContain(server);
    expect(await facts('f')).toMatchObject({ status: 'running' });
    // Also of one whose keeper is gone.
    process.kill(await keeperOf('f'), 'SIGKILL');
    await until(async () => (await facts('f'))?.status === 'lost');
    for (const pid of await commandsWith('serve-layers', join(sandbox.root, 'run/f/image'))) {
      process.kill(pid, 'SIGKILL');
    }
    await ok('rm', 'f');
    await until(async () => (await commandsWith('serve-layers', sandbox.root)).length === 0);
    await ok('gc');
  }, 60_000);

  it('run more commands when the host has unmounted their root file system', async () => {
    await ok('run', '-d', '--name', 'u', source, 'sleep', '60');
    await must('umount', '--lazy', join(sandbox.root, 'run/u/rootfs'));
    expect(await ok('exec', '-u', 'ann', 'u', 'id', '-u')).toBe('1000\n');
    expect(await siphon('exec', 'u', 'no-such')).toMatchObject({ code: 127 });
  }, 60_000);

  it('say how their root file system was made ready, and why so', async () => {
    const { stderr } = await siphon('run', '--rm', '--verbose', source);
    expect(stderr).toContain('root file system: served lazily: 1 layers by an index');
    const siphonRun = `${process.execPath} bin/siphon --root ${sandbox.root}-2 run --rm --verbose ${source}`;
    // Without /dev/fuse nothing can be served.
    const hidden = `mount --bind /dev/null /dev/fuse; exec ${siphonRun}`;
    const unpacked = await run('unshare', ['-m', 'sh', '-c', hidden]);
    expect(unpacked.stderr).toMatch(/root file system: unpacked whole: .*fuse/);
    expect(unpacked.stdout).toBe('from the image\n');
    const images = ['bin/siphon', '--root', `${sandbox.root}-2`, 'images'];
    expect((await run(process.execPath, images)).stdout).toMatch(/ 100 % +unpacked\n$/);
    expect(await ok('images')).toMatch(/ (?:lazy|whole)\n$/);
  }, 60_000);
});

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}

/** What is looked at, options, what is run, what it prints; several options share a start. */
const surface: [string, string[], string, string][] = [
  [
    '--env --env-file --mount --volume --workdir --hostname --ulimit',
    words(`-e C=c -e USER -e UNSET --env-file ENV_FILE -v FOLDER:/v:ro -w /made --hostname box
      -v FOLDER/new/deep:/new
      --mount type=bind,source=FOLDER,target=/m,readonly
      --mount type=tmpfs,target=/t,tmpfs-size=1m --ulimit nofile=100:200 --ulimit core=0:-1`),
    `echo "$A $B $C $D $USER \${UNSET-unset} $HERE"; echo x >/new/x && echo made; cat /m/given /v/given; echo x 2>/dev/null >/m/given || echo ro
     stat -f -c %T /t; pwd; cat /proc/sys/kernel/hostname; ulimit -n; ulimit -Hn; ulimit -Hc`,
    'file x=y c # no comment somebody unset here\nmade\ngiven\ngiven\nro\ntmpfs\n/made\nbox\n100\n200\nunlimited\n',
  ],
  [
    '--user --net --read-only --cap-drop',
    ['-u', 'ann:staff', '--net', 'none', '--read-only', '--cap-drop', 'ALL'],
    `id -u; id -g; ls /sys/class/net; echo x 2>/dev/null >/tmp/x || echo ro
     while read k v; do [ "$k" = CapBnd: ] && echo $v; done </proc/self/status`,
    '1000\n50\nlo\nro\n0000000000000000\n',
  ],
  [
    '--cap-add --device',
    ['--cap-drop', 'ALL', '--cap-add', 'net_admin', '--device', '/dev/fuse:/dev/other:rw'],
    `while read k v; do [ "$k" = CapEff: ] && echo $v; done </proc/self/status
     stat -c %t:%T /dev/other`,
    '0000000000001000\na:e5\n',
  ],
  [
    '--privileged',
    ['--privileged'],
    'ls -d /dev/fuse; [ -w /proc/sys/kernel/hostname ] && echo open',
    '/dev/fuse\nopen\n',
  ],
];

describe.skipIf(skip)('options of siphon run: needs root', () => {
  it.each(surface)(
    '%s',
    async (_, options, script, expected) => {
      const folder = await sandbox.folder('given');
      await writeFile(join(folder, 'given'), 'given\n');
      await writeFile(
        join(sandbox.directory, 'env'),
        '# variables\nA=file\nB=x=y\nD=# no comment\nHERE\nUNSET\n',
      );
      const filled = options.map((word) =>
        word.replace('FOLDER', folder).replace('ENV_FILE', join(sandbox.directory, 'env')),
      );
      const { stdout, stderr } = await siphon('run', '--rm', ...filled, source, 'sh', '-c', script);
      expect(stdout, stderr).toEqual(expected);
    },
    60_000,
  );

  it('--memory and --cpus are limits of the cgroup', async () => {
    await ok('run', '-d', '--name', 'g', '--memory', '64m', '--cpus', '0.5', source, 'sleep', '60');
    const read = (paths: string[]): Promise<string> =>
      Promise.any(paths.map((path) => readFile(`/sys/fs/cgroup/${path}`, 'utf8')));
    const config = join(sandbox.root, 'run/g/bundle/config.json');
    const { linux } = JSON.parse(await readFile(config, 'utf8')) as {
      linux: { cgroupsPath: string };
    };
    const cgroup = linux.cgroupsPath.slice(1);
    expect(await read([`${cgroup}/memory.max`, `memory/${cgroup}/memory.limit_in_bytes`])).toBe(
      `${64 * 1024 * 1024}\n`,
    );
    expect(await read([`${cgroup}/cpu.max`, `cpu/${cgroup}/cpu.cfs_quota_us`])).toMatch(/^50000\b/);
  }, 60_000);

  it('may be many at once', async () => {
    const options = words('--privileged --cap-drop CHOWN --ulimit core=0 --net none -v /etc:/x:ro');
    await ok('run', '-d', '-t', '--name', 'v', ...options, source, 'sleep', '60');
  }, 60_000);

  it('--env-file is for the container alone, and must be text', async () => {
    const path = join(sandbox.directory, 'variables');
    const siphonItself = (...args: string[]): Promise<Outcome> =>
      run('bin/siphon', ['--root', sandbox.root, 'run', '--rm', '--env-file', path, ...args]);
    await writeFile(path, '\uFEFFNODE_OPTIONS=--require ./no-such.js\r\n\r\n # x\r\nE= e \r\n');
    const given = await siphonItself(source, 'sh', '-c', 'echo "$NODE_OPTIONS|$E|"');
    expect(given.stdout, given.stderr).toBe('--require ./no-such.js| e |\n');
    for (const [text, message] of [
      [Buffer.from('A=\xff', 'latin1'), /not valid for encoding utf-8, expected a text file/],
      [Buffer.from('A B=1'), /"A B=1": expected lines of NAME=value or NAME/],
    ] as const) {
      await writeFile(path, text);
      const refused = await siphonItself(source);
      expect(refused).toMatchObject({ code: 2, stdout: '' });
      expect(refused.stderr).toMatch(message);
    }
    await rm(path);
    expect(await siphonItself(source)).toMatchObject({
      code: 2,
      stderr: `siphon: Cannot use --env-file "${path}": ENOENT: no such file or directory, open '${path}', expected a text file\n`,
    });
  }, 60_000);

  it('--mount wants its source to be there', async () => {
    const mount = `type=bind,source=${sandbox.directory}/none,target=/m`;
    expect(await siphon('run', '--rm', '--mount', mount, source)).toMatchObject({
      code: 125,
      stderr: expect.stringContaining(`${sandbox.directory}/none`) as unknown,
    });
    expect(existsSync(`${sandbox.directory}/none`)).toBe(false);
  }, 60_000);

  it('--mount and --volume take a path once', async () => {
    const twice = ['--mount', 'type=tmpfs,target=/m', '-v', `${sandbox.directory}:/m/`];
    expect(await siphon('run', '--rm', ...twice, source)).toMatchObject({
      code: 2,
      stderr: 'siphon: Cannot mount on "/m" twice: expected each path at most once\n',
    });
  }, 60_000);

  it('--entrypoint takes the place of Entrypoint and Cmd', async () => {
    expect((await siphon('run', '--rm', '--entrypoint', 'id', source, '-u')).stdout).toBe('0\n');
    const cleared = ['--entrypoint', '', '--user', '4242', source, 'sh', '-c', 'id -u; echo $HOME'];
    expect((await siphon('run', '--rm', ...cleared)).stdout).toBe('4242\n/\n');
  }, 60_000);
});
