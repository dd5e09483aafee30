/**
 * Mounts outlive their server: it is killed, or told to make room for another, every 300 ms whatever its
 * state is, while a mounted folder and a running container are read. `SIPHON_SURVIVAL_SECONDS` says for
 * how long (default 6 s each). How far readers come meanwhile is the machine's affair; all that they ask
 * for is answered in the end, and right.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { processIsAlive, signalIfThere } from '#src/common/process.js';
import type { MountRecord } from '#src/layers/mount-record.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { type Containerd, startContainerd } from '../../bench/programs/containerd.js';
import { siphonProgram } from '../../bench/programs/siphon-program.js';
import { type Sandbox, openSandbox, run } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import {
  type Reader,
  type SurvivalImage,
  readers,
  writeSurvivalImage,
} from '../support/survival-image.js';

const killingTime = Number(process.env['SIPHON_SURVIVAL_SECONDS'] ?? '6') * 1000;
const period = 300; // ms
const testTimeout = killingTime * 3 + 120_000;
/** Of the keeper's resident memory. */
const memoryLimit = 4 * 1024; // KiB

let shared: Sandbox;
let image: SurvivalImage;
let registry: LayoutServer;

beforeAll(async () => {
  shared = await openSandbox();
  image = await writeSurvivalImage(shared);
  const built = await shared.siphon('index', 'build', '--push', image.source);
  expect(built, built.stderr).toMatchObject({ code: 0 });
  registry = await serveLayout({ layout: image.layout });
}, 120_000);

afterAll(async () => {
  await registry?.close();
  await shared?.[Symbol.asyncDispose]();
});

/** The server of a keeper, or `undefined` in between. */
async function serverOf(keeper: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${keeper}/task/${keeper}/children`, 'utf8');
  for (const pid of text.split(' ').filter(Boolean).map(Number)) {
    // What the keeper sleeps with between two servers is a child too.
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (command.includes('bin/siphon')) return pid;
  }
  return undefined;
}

/** Where one stands. (To signal process 0 would be to signal ourselves.) */
async function standingServerOf(keeper: number): Promise<number> {
  const server = await serverOf(keeper);
  if (server === undefined) throw new Error('There is no server');
  return server;
}

/** How a server is made to end: by a blow, or by asking its keeper for a new one. */
type Ending = 'SIGKILL' | 'SIGUSR2';

/**
 * Ends the server every {@link period}, and drops the kernel's caches in between.
 * @returns how many servers were hit
 */
async function endServers(keeper: number, ending: Ending): Promise<number> {
  const start = Date.now();
  let hit = 0;
  for (let tick = 1; Date.now() < start + killingTime; tick += 1) {
    const server = await serverOf(keeper);
    if (server !== undefined) {
      signalIfThere(ending === 'SIGKILL' ? server : keeper, ending);
      hit += 1;
    }
    if (tick % 4 === 0) void writeFile('/proc/sys/vm/drop_caches', '3');
    await delay(Math.max(0, start + tick * period - Date.now()));
  }
  return hit;
}

/** Reads again and again until `done`. @returns how often */
async function readOver(folder: string, reader: Reader, done: AbortSignal): Promise<number> {
  let passes = 0;
  do {
    const outcome = await run('sh', ['-c', `cd "$1" && ${readers[reader]}`, 'sh', folder]);
    expect(outcome).toEqual({ code: 0, stdout: image.expected[reader], stderr: '' });
    passes += 1;
  } while (!done.aborted);
  return passes;
}

async function residentMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1]);
}

async function keeperOfMount(sandbox: Sandbox): Promise<number> {
  const names = await readdir(join(sandbox.root, 'mounts'));
  const record = names.find((name) => name.endsWith('.json')) ?? '';
  const text = await readFile(join(sandbox.root, 'mounts', record), 'utf8');
  return (JSON.parse(text) as MountRecord).server.pid; // siphon has just written it
}

/** The layer that is lazy in any case: small ones may be files. */
async function largestLayer(layers: string): Promise<string> {
  const numbers = (await readdir(layers)).filter((name) => /^\d+$/.test(name));
  const sizes = await Promise.all(
    numbers.map(async (name) => {
      const { size } = await stat(join(layers, name, 'data')).catch(() => ({ size: 0 }));
      return { name, size };
    }),
  );
  return sizes.sort((one, other) => other.size - one.size)[0]?.name ?? '';
}

async function waitUntil(met: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = Date.now() + 30_000; !(await met()); await delay(30)) {
    if (Date.now() > end) throw new Error('It does not come to pass');
  }
}

describe('siphon mount', () => {
  it.each<Ending>(['SIGKILL', 'SIGUSR2'])(
    'is read without an error while its server gets %s over and over',
    async (ending) => {
      await using sandbox = await openSandbox();
      const target = await sandbox.folder('mnt');
      const reference = `docker://${registry.host}/survival:latest`;
      const mounted = await sandbox.siphon('mount', reference, target);
      expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
      const keeper = await keeperOfMount(sandbox);
      const done = new AbortController();
      const data = join(target, 'data');
      const reading = Promise.all(
        (['listing', 'small', 'big'] as const).map((one) => readOver(data, one, done.signal)),
      );
      const hit = await endServers(keeper, ending).finally(() => done.abort());
      const passes = await reading;
      expect(hit).toBeGreaterThan(killingTime / 3000);
      expect(Math.min(...passes)).toBeGreaterThan(0);
      expect(await residentMemory(keeper)).toBeLessThan(memoryLimit);
      const unmounted = await sandbox.siphon('umount', target);
      expect(unmounted, unmounted.stderr).toMatchObject({ code: 0 });
      expect(await sandbox.mounts()).toEqual([]);
      expect(await readdir(join(sandbox.root, 'keepers'))).toEqual([]);
    },
    testTimeout,
  );

  it('is replaced by a new server on request', async () => {
    await using sandbox = await openSandbox();
    const target = await sandbox.folder('mnt');
    const mounted = await sandbox.siphon('mount', image.source, target);
    expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
    const keeper = await keeperOfMount(sandbox);
    const before = await serverOf(keeper);
    process.kill(keeper, 'SIGUSR2');
    await waitUntil(async () => ![before, undefined].includes(await serverOf(keeper)));
    await readOver(join(target, 'data'), 'small', AbortSignal.abort());
    expect((await sandbox.siphon('umount', target)).code).toBe(0);
  }, 60_000);

  it('hangs nobody where the keeper is killed, and is cleared away by umount', async () => {
    await using sandbox = await openSandbox();
    const target = await sandbox.folder('mnt');
    expect((await sandbox.siphon('mount', image.source, target)).code).toBe(0);
    const keeper = await keeperOfMount(sandbox);
    const server = await standingServerOf(keeper);
    process.kill(keeper, 'SIGKILL');
    await waitUntil(() => !processIsAlive(server));
    await expect(readFile(join(target, 'data/big'))).rejects.toThrow(/ENOTCONN|ECONNABORTED/);
    for (const command of [['umount'], ['mount', image.source], ['umount']]) {
      const outcome = await sandbox.siphon(...command, target);
      expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    }
    expect(await sandbox.mounts()).toEqual([]);
    expect(await readdir(join(sandbox.root, 'mounts'))).toEqual([]);
  }, 60_000);

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    'ends in order on %s',
    async (signal) => {
      await using sandbox = await openSandbox();
      const target = await sandbox.folder('mnt');
      expect((await sandbox.siphon('mount', image.source, target)).code).toBe(0);
      const keeper = await keeperOfMount(sandbox);
      // Once more as a terminal does it, which tells both.
      if (signal === 'SIGINT') signalIfThere(await standingServerOf(keeper), signal);
      process.kill(keeper, signal);
      await waitUntil(() => !processIsAlive(keeper));
      expect(await sandbox.mounts()).toEqual([]);
      expect(await readdir(join(sandbox.root, 'mounts'))).toEqual([]);
    },
    60_000,
  );

  it('is mounted anew on a kernel that cannot hand requests on, and says what is lost', async () => {
    await using sandbox = await openSandbox();
    const target = await sandbox.folder('mnt');
    process.env['SIPHON_WITHOUT_RESEND'] = '1';
    const mounted = await sandbox.siphon('mount', image.source, target).finally(() => {
      delete process.env['SIPHON_WITHOUT_RESEND'];
    });
    expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
    process.kill(await standingServerOf(await keeperOfMount(sandbox)), 'SIGKILL');
    const log = (): Promise<string> => readFile(join(sandbox.root, 'logs/mount.log'), 'utf8');
    await waitUntil(async () => (await log()).includes('mounted anew'));
    expect(await log()).toMatch(/"endedWith":137.*cannot hand its requests on.*gets errors/);
    await readOver(join(target, 'data'), 'big', AbortSignal.abort());
    expect((await sandbox.siphon('umount', target)).code).toBe(0);
    expect(await sandbox.mounts()).toEqual([]);
  }, 60_000);

  it('ends when its folder is unmounted while no server is there', async () => {
    await using sandbox = await openSandbox();
    const target = await sandbox.folder('mnt');
    expect((await sandbox.siphon('mount', image.source, target)).code).toBe(0);
    const keeper = await keeperOfMount(sandbox);
    process.kill(await standingServerOf(keeper), 'SIGKILL');
    await run('umount', [target]);
    await waitUntil(async () => (await sandbox.mounts()).length === 0);
    await waitUntil(async () => (await readdir(join(sandbox.root, 'keepers'))).length === 0);
  }, 60_000);
});

/** Reads until the file /tmp/stop is there. */
const readAll = `cd /data; while :; do ${Object.values(readers).join('\n')}\n[ ! -e /tmp/stop ] || exit 0; done`;

/** @returns how often everything was read */
function checkPasses(output: string): number {
  const pass = Object.values(image.expected).join('');
  const passes = Math.round(output.length / pass.length);
  expect(output).toBe(pass.repeat(passes));
  return passes;
}

describe('siphon run', () => {
  /** The keeper of the only container's files. */
  async function keeperOfRun({ root }: Sandbox): Promise<number> {
    const keepers = (): Promise<string[]> => readdir(join(root, 'keepers')).catch(() => []);
    await waitUntil(async () => (await keepers()).length === 1);
    return Number((await keepers())[0]);
  }

  it.each<Ending>(['SIGKILL', 'SIGUSR2'])(
    'has its container read on while the server of its files gets %s over and over',
    async (ending) => {
      await using sandbox = await openSandbox();
      const reference = `docker://${registry.host}/survival:latest`;
      const running = sandbox.siphon('run', '--rm', '--name', 'it', reference, 'sh', '-c', readAll);
      const keeper = await keeperOfRun(sandbox);
      await waitUntil(async () => (await sandbox.siphon('exec', 'it', 'sh', '-c', ':')).code === 0);
      const hit = await endServers(keeper, ending);
      expect(hit).toBeGreaterThan(killingTime / 3000);
      const stopped = await sandbox.siphon('exec', 'it', 'sh', '-c', ': >/tmp/stop');
      expect(stopped, stopped.stderr).toMatchObject({ code: 0 });
      const { code, stdout, stderr } = await running;
      expect(code, stderr).toBe(0);
      expect(checkPasses(stdout)).toBeGreaterThan(0);
      expect(await sandbox.mounts()).toEqual([]);
      expect(await readdir(join(sandbox.root, 'keepers'))).toEqual([]);
    },
    testTimeout,
  );

  it('leaves a container that reads on where the command is killed, and that rm removes', async () => {
    await using sandbox = await openSandbox();
    const out = await sandbox.folder('out');
    const script = `cd /data; while :; do ${readers.small} >/tmp/sum; cat /tmp/sum >>/out/sums; done`;
    const options = ['--name', 'it', '--volume', `${out}:/out`];
    const args = [siphonProgram, '--root', sandbox.root, 'run', ...options, image.source];
    const command = spawn(process.execPath, [...args, 'sh', '-c', script], { stdio: 'ignore' });
    const sums = (): Promise<string> => readFile(join(out, 'sums'), 'utf8').catch(() => '');
    await waitUntil(async () => (await sums()) !== '');
    command.kill('SIGKILL');
    await once(command, 'exit');
    await writeFile('/proc/sys/vm/drop_caches', '3');
    const before = (await sums()).length;
    await waitUntil(async () => (await sums()).length > before + 3 * image.expected.small.length);
    const removed = await sandbox.siphon('rm', '--force', 'it');
    expect(removed, removed.stderr).toMatchObject({ code: 0 });
    expect(await sums()).toMatch(new RegExp(`^(${image.expected.small.trim()}\n)+$`));
    expect(await sandbox.mounts()).toEqual([]);
    await waitUntil(async () => (await readdir(join(sandbox.root, 'keepers'))).length === 0);
  }, 60_000);
});

describe('siphon serve', () => {
  let sandbox: Sandbox;
  let siphon: SiphonService;
  let containerd: Containerd;
  let reference: string;

  /** Layers stay lazy, however long a life takes. */
  async function start(): Promise<SiphonService> {
    const config = join(sandbox.directory, 'lazy.toml');
    await writeFile(config, 'smallest_lazy_layer = 0\nfill_after = "never"\n');
    return startSiphonService(sandbox, '--config', config);
  }

  beforeAll(async () => {
    sandbox = await openSandbox();
    siphon = await start();
    containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
    reference = `${registry.host}/survival:latest`;
    const pull = ['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference];
    await containerd.ctrRemote(pull);
  }, 120_000);

  afterAll(async () => {
    await containerd?.close();
    await siphon?.stop();
    const left = await sandbox.mounts();
    await sandbox[Symbol.asyncDispose]();
    expect(left).toEqual([]);
  }, 60_000);

  /** containerd tries to connect to a new server again only now and then. */
  async function connected(): Promise<void> {
    const list = ['snapshots', '--snapshotter', 'siphon', 'ls'];
    await waitUntil(() =>
      containerd.ctr(list).then(
        () => true,
        () => false,
      ),
    );
  }

  /** Runs a shell script in a container of its own. @returns what it printed */
  function inContainer(name: string, script: string): Promise<string> {
    return containerd.runToEnd(['--snapshotter', 'siphon', reference, name, 'sh', '-c', script]);
  }

  /** A container that reads until its file /tmp/stop is there. */
  function startReading(name: string): { output: Promise<string>; stop(): Promise<unknown> } {
    const touch = ['tasks', 'exec', '--exec-id', 'stop', name, 'sh', '-c', ': >/tmp/stop'];
    return { output: inContainer(name, readAll), stop: () => containerd.ctr(touch) };
  }

  /** Before that, nothing can be started in it. */
  function runs(name: string): Promise<void> {
    const line = new RegExp(`^${name} .* RUNNING`, 'm');
    return waitUntil(async () => line.test((await containerd.ctr(['tasks', 'ls'])).stdout));
  }

  it.each<Ending>(['SIGKILL', 'SIGUSR2'])(
    'has a running container read on while its server gets %s over and over',
    async (ending) => {
      await connected();
      const name = `ended-by-${ending.toLowerCase()}`;
      const container = startReading(name);
      await runs(name);
      const hit = await endServers(siphon.pid, ending);
      expect(hit).toBeGreaterThan(killingTime / 3000);
      await connected();
      await container.stop();
      expect(checkPasses(await container.output)).toBeGreaterThan(0);
      expect(await residentMemory(siphon.pid)).toBeLessThan(memoryLimit);
    },
    testTimeout,
  );

  it('is replaced by a new server on request, containers running on', async () => {
    await connected();
    const container = startReading('upgraded');
    await runs('upgraded');
    const before = await serverOf(siphon.pid);
    process.kill(siphon.pid, 'SIGUSR2');
    await waitUntil(async () => ![before, undefined].includes(await serverOf(siphon.pid)));
    await connected();
    await container.stop();
    expect(checkPasses(await container.output)).toBeGreaterThan(0);
    expect(await inContainer('after', readers.listing.replace('.', '/data'))).toMatch(/^\w+ /);
  }, 60_000);

  it('starts again on the root of a killed keeper, without a registry', async () => {
    const stats = registry.stats.requests;
    await siphon.stop('SIGKILL');
    siphon = await start();
    await connected();
    expect(await inContainer('restarted', `cd /data; ${readers.small}`)).toBe(image.expected.small);
    expect(registry.stats.requests).toBe(stats);
  }, 60_000);

  it('serves what it can where one layer is broken and no registry has it', async () => {
    await siphon.stop('SIGKILL');
    const { port } = registry;
    await registry.close();
    const layers = join(sandbox.root, 'layers');
    const path = join(layers, await largestLayer(layers), 'index.db');
    const whole = await readFile(path);
    await writeFile(path, 'nothing of use');
    siphon = await start();
    await connected();
    await expect(inContainer('broken', ':')).rejects.toThrow(/lazy layer/);
    await writeFile(path, whole);
    registry = await serveLayout({ layout: image.layout, port });
    expect(await inContainer('repaired', readers.listing.replace('.', '/data'))).toMatch(/^\w+ /);
  }, 60_000);

  it('comes back on a kernel that cannot hand requests on, and says what is lost', async () => {
    await siphon.stop();
    process.env['SIPHON_WITHOUT_RESEND'] = '1';
    try {
      siphon = await start();
      await connected();
      const listed = (await containerd.ctr(['snapshots', '--snapshotter', 'siphon', 'ls'])).stdout;
      await containerd.ctr([
        'run',
        '-d',
        '--snapshotter',
        'siphon',
        reference,
        'lost',
        'sleep',
        '99',
      ]);
      process.kill(await standingServerOf(siphon.pid), 'SIGKILL');
      await waitUntil(() => siphon.log().includes('cannot hand its requests on'));
      expect(siphon.log()).toMatch(/"endedWith":137.*containers started before get errors/);
      await waitUntil(() => siphon.log().split('"serving"').length > 2);
      // Whoever used the old mount is refused, and does not wait; the old mount itself is gone.
      const old = ['tasks', 'exec', '--exec-id', 'read', 'lost', 'cat', '/data/big'];
      await expect(containerd.ctr(old)).rejects.toThrow();
      // It may have ended by itself: its own program cannot be read any more.
      await containerd.ctr(['tasks', 'kill', '--signal', 'SIGKILL', 'lost']).catch(() => '');
      const serving = ['fuse', 'xattr'].map((name) => join(sandbox.root, name));
      expect((await sandbox.mounts()).toSorted()).toEqual(serving);
      await connected();
      await waitUntil(() =>
        containerd.ctr(['containers', 'rm', 'lost']).then(
          () => true,
          () => false,
        ),
      );
      const { stdout } = await containerd.ctr(['snapshots', '--snapshotter', 'siphon', 'ls']);
      expect(stdout).toBe(listed);
      expect(await inContainer('renewed', `cd /data; ${readers.big}`)).toBe(image.expected.big);
    } finally {
      delete process.env['SIPHON_WITHOUT_RESEND'];
    }
  }, 60_000);
});
