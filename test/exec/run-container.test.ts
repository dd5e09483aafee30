import { runContainer } from '#src/exec/run-container.js';
import type { RunContainerOptions } from '#src/exec/run-options.js';
import { silentLogger } from '#src/common/log.js';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { awaitSignals } from '../support/await-signals.js';
import { makeRootfs } from '../support/rootfs.js';

const run = promisify(execFile);
const terminalRunner = fileURLToPath(new URL('run-in-terminal.mjs', import.meta.url));
const programs = ['sh', 'cat', 'id', 'ls', 'env', 'stty', 'readlink', 'mknod', 'unshare', 'sleep'];
const ready = process.geteuid?.() === 0 && installed('runc');

let top: string;
let rootfs: string;
let state: string;
let count = 0;

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'siphon-exec-'));
  rootfs = join(top, 'rootfs');
  state = join(top, 'state');
  const paths = await Promise.all(programs.map(programPath));
  await makeRootfs(rootfs, paths, {
    '/etc/passwd': 'root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n',
    '/etc/group': 'root:x:0:\nann:x:1001:\naudio:x:29:ann\nstaff:x:50:\n',
    '/script': '#!/no/interpreter\n',
  });
  await run('chmod', ['755', join(rootfs, 'script')]);
});

afterAll(async () => {
  await rm(top, { recursive: true, force: true });
});

function installed(program: string): boolean {
  return ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/bin', '/usr/local/sbin'].some(
    (folder) => existsSync(join(folder, program)),
  );
}

async function programPath(program: string): Promise<string> {
  const { stdout } = await run('which', [program]);
  return stdout.trim();
}

interface Outcome {
  code: number;
  output: string;
  errors: string;
}

/** Runs a shell script, or `args`, with the streams caught. */
async function runIn(
  options: Partial<RunContainerOptions> & { script?: string },
): Promise<Outcome> {
  const { script, id = `test-${process.pid}-${count++}`, ...rest } = options;
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const caught = Promise.all([text(stdout), text(stderr)]);
  try {
    const { exitCode: code } = await runContainer({
      id,
      directory: join(state, id),
      rootfs,
      config: {},
      ...(script === undefined ? {} : { args: ['sh', '-c', script] }),
      stdio: { stdin: 'ignore', stdout, stderr },
      signalSource: new EventEmitter(),
      signal: new AbortController().signal,
      log: silentLogger,
      ...rest,
    });
    stdout.end();
    stderr.end();
    const [output, errors] = await caught;
    return { code, output, errors };
  } finally {
    stdout.end();
    stderr.end();
  }
}

/** The process id of the runtime that runs container `id`. */
async function runtimeProcess(id: string): Promise<number> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (command.includes('\0run\0') && command.includes(`\0${id}\0`)) return Number(name);
  }
  throw new Error(`no runtime runs ${id}`);
}

/** Nothing of any container is left: no folder, no cgroup, no process. */
async function expectNothingLeft(): Promise<void> {
  expect(existsSync(state) ? await readdir(state) : []).toEqual([]);
  const cgroups = execFileSync('find', [
    '/sys/fs/cgroup',
    '-maxdepth',
    '2',
    '-name',
    `siphon-test-${process.pid}-*`,
  ]);
  expect(cgroups.toString()).toBe('');
}

describe.skipIf(!ready)('runContainer (needs root and runc)', () => {
  test('gives output, errors and exit code of the process', async () => {
    const { code, output, errors } = await runIn({ script: 'echo out; echo err >&2; exit 7' });
    expect({ code, output, errors }).toEqual({ code: 7, output: 'out\n', errors: 'err\n' });
    await expectNothingLeft();
  });

  test.each<[string, Parameters<typeof runIn>[0], string]>([
    [
      'Cmd',
      { config: { config: { Cmd: ['echo', 'x'] } }, args: ['sh', '-c', 'echo given'] },
      'given',
    ],
    ['Entrypoint', { config: { config: { Entrypoint: ['sh', '-c'], Cmd: ['echo cmd'] } } }, 'cmd'],
    ['Env', { config: { config: { Env: ['A=b c'] } }, script: 'echo "$A"' }, 'b c'],
    ['env', { env: ['A=given'], script: 'echo $A' }, 'given'],
    [
      'PATH',
      { script: 'echo $PATH' },
      '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ],
    [
      'WorkingDir',
      { config: { config: { WorkingDir: '/made/for/it' } }, script: 'pwd' },
      '/made/for/it',
    ],
    [
      'Volumes',
      { config: { config: { Volumes: ['/data/v'] } }, script: 'ls -d /data/v' },
      '/data/v',
    ],
    ['root', { script: 'id -u; id -G; echo $HOME' }, '0\n0\n/root'],
    [
      'User',
      { config: { config: { User: 'ann' } }, script: 'id -u; id -G; echo $HOME' },
      '1000\n1001 29\n/home/ann',
    ],
    [
      'User with group',
      { config: { config: { User: 'ann:staff' } }, script: 'id -u; id -G' },
      '1000\n50',
    ],
    ['user by number', { user: '4242:4243', script: 'id -u; id -G; echo $HOME' }, '4242\n4243\n/'],
    ['hostname', { hostname: 'box', script: 'cat /proc/sys/kernel/hostname' }, 'box'],
    ['pid namespace', { script: 'echo $$' }, '1'],
    ['open files', { script: 'ulimit -n; ulimit -Hn' }, '1024\n1024'],
    ['no network', { network: 'none', script: 'ls /sys/class/net' }, 'lo'],
    [
      'read-only root',
      { readOnlyRoot: true, script: 'echo x 2>/dev/null >/x || echo refused' },
      'refused',
    ],
  ])('honours %s', async (_, options, output) => {
    expect(await runIn(options)).toEqual({ code: 0, output: `${output}\n`, errors: '' });
  });

  test("keeps the container from what is the host's", async () => {
    const { output } = await runIn({
      script: `
        echo x 2>/dev/null >/proc/sysrq-trigger || echo sysrq
        echo x 2>/dev/null >/sys/fs/cgroup/pids/tasks || echo cgroup
        echo x 2>/dev/null >>/etc/hosts || echo hosts
        ls /sys/firmware; cat /proc/keys
        unshare -U true 2>/dev/null || echo unshare
        mknod /dev/kmsg2 c 1 11; cat /dev/kmsg2 2>/dev/null || echo device`,
    });
    expect(output).toBe('sysrq\ncgroup\nhosts\nunshare\ndevice\n');
  });

  test("shows the host's name resolution", async () => {
    const { output } = await runIn({ script: 'cat /etc/hosts /etc/resolv.conf' });
    const files = ['/etc/hosts', '/etc/resolv.conf'].filter((file) => existsSync(file));
    const expected = await Promise.all(files.map((file) => readFile(file, 'utf8')));
    expect(output).toBe(expected.join(''));
  });

  test('mounts what the caller gives', async () => {
    await mkdir(join(top, 'given'));
    await writeFile(join(top, 'given/file'), 'of the host\n');
    const mount = { type: 'bind', source: join(top, 'given'), options: ['rbind', 'ro'] };
    const { output } = await runIn({
      mounts: [{ destination: '/given', ...mount }],
      script: 'cat /given/file; echo x 2>/dev/null >/given/file || echo read-only',
    });
    expect(output).toBe('of the host\nread-only\n');
  });

  test('lets the process open its own output again', async () => {
    const { output, errors } = await runIn({ script: 'echo a >/dev/stdout; echo b >/dev/stderr' });
    expect([output, errors]).toEqual(['a\n', 'b\n']);
  });

  test('passes input on to its end, from a stream and from a file', async () => {
    const input = 'line\n'.repeat(100_000);
    const stdout = new PassThrough();
    const caught = text(stdout);
    const stdin = Readable.from([input.slice(0, 7), input.slice(7)]);
    await runIn({ args: ['cat'], stdio: { stdin, stdout, stderr: 'ignore' } });
    stdout.end();
    expect((await caught) === input).toBe(true);

    await writeFile(join(top, 'input'), 'from a file\n');
    const file = await open(join(top, 'input'));
    const copy = await open(join(top, 'output'), 'w');
    await runIn({ args: ['cat'], stdio: { stdin: file.fd, stdout: copy.fd, stderr: 'ignore' } });
    await Promise.all([file.close(), copy.close()]);
    expect(await readFile(join(top, 'output'), 'utf8')).toBe('from a file\n');
  });

  test('ends although its input does not', async () => {
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    const result = await runIn({ script: 'exit 4', stdio: { stdin, stdout, stderr: 'ignore' } });
    expect(result.code).toBe(4);
  });

  test('reports the signal that ended the process', async () => {
    const { code } = await runIn({ script: 'sh -c "kill -TERM \\$\\$"; exit $?' });
    expect(code).toBe(143);
  });

  test('hands signals on', async () => {
    const signalSource = new EventEmitter();
    const script = `trap "echo got; exit 9" TERM; echo up; ${awaitSignals}`;
    const stdout = new PassThrough();
    const output = text(stdout);
    const stdio = { stdin: 'ignore', stdout, stderr: 'ignore' } as const;
    const running = runIn({ script, signalSource, stdio });
    await once(stdout, 'data');
    signalSource.emit('SIGTERM', 'SIGTERM');
    expect((await running).code).toBe(9);
    stdout.end();
    expect(await output).toBe('up\ngot\n');
    expect(signalSource.eventNames()).toEqual([]);
    await expectNothingLeft();
  });

  test('a signal at once does not break the start', async () => {
    const signalSource = new EventEmitter();
    const running = runIn({ script: 'sleep 0.2; echo whole', signalSource });
    while (signalSource.listenerCount('SIGHUP') === 0) await sleep(1);
    signalSource.emit('SIGHUP', 'SIGHUP');
    // The first process of a pid namespace ignores signals that it has no handler for.
    expect(await running).toEqual({ code: 0, output: 'whole\n', errors: '' });
    await expectNothingLeft();
  });

  test('a signal waits until the process is no more the runtime’s own', async () => {
    const runtime = join(top, 'slow-runtime');
    // As runc's, which a signal ends with 2; what follows it ignores the signal.
    const script = `#!/usr/bin/perl
      use strict;
      my ($file) = "@ARGV" =~ /--pid-file (\\S+)/;
      $0 = 'runc:[2:INIT]';
      $SIG{HUP} = sub { exit 2 };
      open(my $pid, '>', "$file.new"); print $pid $$; close($pid); rename("$file.new", $file);
      select(undef, undef, undef, 0.5);
      $SIG{HUP} = 'IGNORE';
      exec('sleep', '0.2');\n`;
    await writeFile(runtime, script, { mode: 0o755 });
    const signalSource = new EventEmitter();
    const running = runIn({ runtime, script: ':', signalSource });
    while (signalSource.listenerCount('SIGHUP') === 0) await sleep(1);
    signalSource.emit('SIGHUP', 'SIGHUP');
    expect((await running).code).toBe(0);
  });

  test('the third SIGINT kills', async () => {
    const signalSource = new EventEmitter();
    const running = runIn({ script: 'sleep 60', signalSource });
    while (signalSource.listenerCount('SIGINT') === 0) await sleep(5);
    for (let i = 0; i < 3; i++) signalSource.emit('SIGINT', 'SIGINT');
    expect((await running).code).toBe(137);
    await expectNothingLeft();
  });

  test('ends the container when somebody kills the runtime', async () => {
    const id = `test-${process.pid}-orphan`;
    const running = runIn({ id, script: 'echo up; sleep 60' });
    while (!existsSync(join(state, id, 'pid'))) await sleep(5);
    process.kill(await runtimeProcess(id), 'SIGKILL');
    expect((await running).code).toBe(137);
    await expectNothingLeft();
  });

  test.each([0, 5, 15, 30, 60, 400])(
    'is cancelled after %i ms and leaves nothing',
    async (delay) => {
      const abort = new AbortController();
      const running = runIn({ script: 'sleep 60', signal: abort.signal });
      setTimeout(() => abort.abort(), delay);
      await expect(running).rejects.toMatchObject({ code: 'cancelled' });
      await expectNothingLeft();
    },
  );

  test('is not even begun when cancelled before', async () => {
    await expect(runIn({ script: ':', signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
  });

  test.each([
    ['nope', 127],
    ['/no/such/file', 127],
    ['/dev/not-there', 127],
    ['/etc/passwd', 126],
    ['/etc', 126],
  ])('the command %j cannot be run: %i', async (command, exitCode) => {
    await expect(runIn({ args: [command] })).rejects.toMatchObject({
      exitCode,
      message: expect.stringContaining(command) as unknown,
    });
    await expectNothingLeft();
  });

  test('a script without its interpreter fails as itself', async () => {
    const { code, errors } = await runIn({ args: ['/script'] });
    expect(code).toBeGreaterThan(0);
    expect(errors).toContain('/script');
  });

  test('a container that the runtime refuses is told with its reason', async () => {
    const mount = { destination: '/x', type: 'no-such-type', source: 'none', options: [] };
    await expect(runIn({ mounts: [mount], script: ':' })).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringMatching(/Cannot start container .*no such device/) as unknown,
    });
    await expectNothingLeft();
  });

  test('an id is used once at a time', async () => {
    const abort = new AbortController();
    const id = `test-${process.pid}-twice`;
    const first = runIn({ id, script: 'sleep 60', signal: abort.signal });
    while (!existsSync(join(state, id))) await sleep(5);
    await expect(runIn({ id, script: ':' })).rejects.toMatchObject({ code: 'already-exists' });
    abort.abort();
    await expect(first).rejects.toMatchObject({ code: 'cancelled' });
    expect((await runIn({ id, script: 'exit 3' })).code).toBe(3);
  });

  test.each([
    [{ id: '../x' }, 'usage'],
    [{ id: '' }, 'usage'],
    [{ runtime: 'no-such-runtime' }, 'not-found'],
    [{ user: 'nobody-here' }, 'invalid'],
    [{ workdir: '/etc/passwd' }, 'invalid'],
    [{ args: [] }, 'usage'],
    [{ terminal: true }, 'usage'],
  ])('refuses %j as %s', async (options, code) => {
    await expect(runIn({ args: ['id'], ...options })).rejects.toMatchObject({ code });
    await expectNothingLeft();
  });

  test('gives the process the terminal of the caller', async () => {
    const { code, output } = await inTerminal(
      'stty size; echo $TERM; read x; echo "got $x"; exit 5',
    );
    expect(code).toBe(5);
    expect(output.replaceAll('\r', '')).toMatch(/33 77\nxterm\n[^]*got hello\n/);
    await expectNothingLeft();
  });

  test.skipIf(!installed('crun'))('runs with crun too', async () => {
    const runtime = await crun();
    const result = await runIn({ runtime, script: 'id -u; exit 6' });
    expect(result).toEqual({ code: 6, output: '0\n', errors: '' });
    await expect(runIn({ runtime, args: ['/dev/not-there'] })).rejects.toMatchObject({
      exitCode: 127,
    });
    await expectNothingLeft();
  });

  const runtimes = ['runc', ...(installed('crun') ? ['crun'] : [])];
  test.each(runtimes)('tells with %s whether memory ran out', async (name) => {
    const runtime = name === 'crun' ? await crun() : name;
    const ends = (script: string): Promise<unknown> => {
      const id = `test-${process.pid}-${count++}`;
      const stdin = new PassThrough();
      return runContainer({
        id,
        directory: join(state, id),
        rootfs,
        config: {},
        args: ['sh', '-c', `read -r started; ${script}`],
        runtime,
        memory: 16 * 1024 * 1024,
        stdio: { stdin, stdout: 'ignore', stderr: 'ignore' },
        onStart: () => stdin.write('started\n'),
        signal: new AbortController().signal,
        log: silentLogger,
      });
    };
    const hungry = 'x=aaaaaaaa; while :; do x=$x$x; done';
    expect(await ends(hungry)).toEqual({ exitCode: 137, outOfMemory: true });
    expect(await ends('exit 3')).toMatchObject({ outOfMemory: false });
    await expectNothingLeft();
  });
});

/** Runs a script in a container on a pseudo terminal of 33 rows and 77 columns, and types "hello". */
async function inTerminal(script: string): Promise<{ code: number; output: string }> {
  const id = `test-${process.pid}-terminal`;
  const options = JSON.stringify({
    id,
    directory: join(state, id),
    rootfs,
    config: {},
    args: ['sh', '-c', script],
  });
  await writeFile(join(top, 'terminal.json'), options);
  const command = `stty cols 77 rows 33; exec node ${terminalRunner} ${join(top, 'terminal.json')}`;
  const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: 'pipe' });
  const output = text(child.stdout);
  child.stdin.write('hello\n');
  const [code] = (await once(child, 'exit')) as [number];
  return { code, output: await output };
}

/** crun refuses a host with cgroup v1 and v2 side by side, so there it is shown v1 alone. */
async function crun(): Promise<string> {
  if (!existsSync('/sys/fs/cgroup/unified')) return 'crun';
  const wrapper = join(top, 'crun');
  const inner = 'umount /sys/fs/cgroup/unified && exec crun "$@"';
  const line = `exec unshare -m --propagation private sh -c '${inner}' crun "$@"`;
  await writeFile(wrapper, `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  return wrapper;
}
