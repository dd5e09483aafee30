import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type Containerd, startContainerd } from '../../bench/programs/containerd.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { buildIndexLayout, buildLayout, file, hostPlatform } from '../support/images.js';
import { type Outcome, type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { startStallingProxy } from '../support/stalling-proxy.js';

const program = fileURLToPath(new URL('../../bin/siphon', import.meta.url));

let sandbox: Sandbox;
let image: DemoLayout;
let registry: DockerRegistry;
let siphon: SiphonService;
let containerd: Containerd;

beforeAll(async () => {
  sandbox = await openSandbox();
  image = await writeSmallLayout(sandbox);
  registry = await startDockerRegistry();
  siphon = await startSiphonService(sandbox);
  containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
}, 120_000);

afterAll(async () => {
  await containerd?.close();
  await siphon?.stop();
  await registry?.close();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
}, 60_000);

afterEach(async () => {
  for (const name of await lines('images', 'ls', '-q')) {
    await containerd.ctr(['images', 'rm', '--sync', name]);
  }
});

async function push(name: string, source = image.source, ...options: string[]): Promise<string> {
  const reference = `${registry.host}/${name}:latest`;
  const insecure = '--dest-tls-verify=false';
  await must('skopeo', 'copy', '-q', insecure, ...options, source, `docker://${reference}`);
  return reference;
}

function pull(reference: string, ...options: string[]): Promise<Outcome> {
  const { address, namespace } = containerd;
  const there = ['--containerd', address, '--namespace', namespace];
  return sandbox.siphon('--json', 'pull', ...there, ...options, reference);
}

interface Pulled {
  name: string;
  target: { digest: string };
  layers: { digest: string; how: string }[];
}

async function pullWell(reference: string, ...options: string[]): Promise<Pulled> {
  const outcome = await pull(reference, ...options);
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  return JSON.parse(outcome.stdout) as Pulled;
}

function ways({ layers }: Pulled): string[] {
  return [...new Set(layers.map(({ how }) => how))];
}

function runIn(reference: string, snapshotter = 'siphon'): Promise<string> {
  return containerd.runToEnd(['--snapshotter', snapshotter, reference, 'test']);
}

/** What ctr lists, a line each. */
async function lines(...args: string[]): Promise<string[]> {
  return (await containerd.ctr(args)).stdout.split('\n').filter((line) => line !== '');
}

async function layersInContainerd(): Promise<string[]> {
  const digests = new Set<string>(image.layers.map((layer) => layer.digest));
  return (await lines('content', 'ls', '-q')).filter((digest) => digests.has(digest));
}

async function labelsOf(digest: string): Promise<string> {
  return (await lines('content', 'ls')).find((line) => line.startsWith(digest)) ?? '';
}

async function nothingIsUnderWay(): Promise<void> {
  expect(await lines('leases', 'ls', '-q')).toEqual([]);
  expect(await lines('content', 'active')).toHaveLength(1); // the heading
  for (const snapshotter of ['siphon', 'overlayfs']) {
    const snapshots = await lines('snapshots', '--snapshotter', snapshotter, 'ls');
    expect(snapshots.filter((line) => line.includes('Active'))).toEqual([]);
  }
}

async function nothingCame(outcome: Outcome, message: string | RegExp): Promise<void> {
  expect(outcome.stderr).toMatch(message);
  expect(outcome).toMatchObject({ code: 1, stdout: '' });
  expect(outcome.stderr).not.toContain('internal error');
  expect(await lines('images', 'ls', '-q')).toEqual([]);
  expect(await lines('content', 'ls', '-q')).toEqual([]);
  await nothingIsUnderWay();
}

describe('siphon pull --containerd', () => {
  it.each([
    ['with published indexes', 'indexed'],
    ['without any index', 'bare'],
  ])(
    'makes an image %s run lazily, and its parts go with it',
    async (_, name) => {
      const reference = await push(name);
      if (name === 'indexed') {
        await using publisher = await openSandbox();
        const built = await publisher.siphon('index', 'build', '--push', `docker://${reference}`);
        expect(built, built.stderr).toMatchObject({ code: 0 });
      }
      const pulled = await pullWell(reference);
      expect(ways(pulled)).toEqual(['prepared']);
      expect(await lines('images', 'ls', '-q')).toEqual([reference]);
      await nothingIsUnderWay();
      expect(await runIn(reference)).toBe('small files: 5\n');
      expect(await layersInContainerd()).toEqual([]);
      expect(ways(await pullWell(reference))).toEqual(['exists']);
      await containerd.ctr(['images', 'rm', '--sync', reference]);
      expect(await lines('content', 'ls', '-q')).toEqual([]);
      expect(await sandbox.shownLayers()).toEqual([]);
    },
    60_000,
  );

  it('leaves nothing to the garbage collector that the image needs', async () => {
    const reference = await push('kept');
    const { layers, target } = await pullWell(reference);
    const before = await lines('content', 'ls', '-q');
    await nothingIsUnderWay();
    // Deleting a lease with --sync collects.
    await containerd.ctr(['leases', 'create', '--id', 'collect']);
    await containerd.ctr(['leases', 'rm', '--sync', 'collect']);
    expect(await lines('content', 'ls', '-q')).toEqual(before);
    expect(await labelsOf(target.digest)).toContain('containerd.io/gc.ref.content.config=');
    expect(await labelsOf(target.digest)).toContain(
      `containerd.io/distribution.source.${registry.host}=kept`,
    );
    expect(await lines('snapshots', '--snapshotter', 'siphon', 'ls')).toHaveLength(
      layers.length + 1,
    );
    expect(await runIn(reference)).toBe('small files: 5\n');
  }, 60_000);

  it('fetches and unpacks everything for an ordinary snapshotter', async () => {
    const reference = await push('ordinary');
    const pulled = await pullWell(reference, '--snapshotter', 'overlayfs');
    expect(ways(pulled)).toEqual(['unpacked']);
    expect(await layersInContainerd()).toHaveLength(image.layers.length);
    await nothingIsUnderWay();
    expect(await lines('images', 'check')).toEqual([
      expect.stringContaining('REF'),
      expect.stringMatching(/complete \(\d+\/\d+\).*true/),
    ]);
    expect(await runIn(reference, 'overlayfs')).toBe('small files: 5\n');
    expect(ways(await pullWell(reference, '--snapshotter', 'siphon'))).toEqual(['prepared']);
    expect(await runIn(reference)).toBe('small files: 5\n');
  }, 60_000);

  it('leaves zstd to the snapshotter, however that serves it', async () => {
    const plain = await writeSmallLayout(sandbox, 'none');
    const zstd = ['--dest-compress-format=zstd', '--dest-compress'];
    const reference = await push('zstd', plain.source, ...zstd);
    const pulled = await pullWell(reference);
    expect(ways(pulled)).toEqual(['prepared']);
    await nothingIsUnderWay();
    expect(await runIn(reference)).toBe('small files: 5\n');
  }, 60_000);

  it.each([
    ['an index', false, 3],
    ['an index in an index', true, 4],
  ])('takes the image for this platform from %s, and records all', async (_, nested, documents) => {
    const layout = await sandbox.folder(`multi-${nested}`);
    const { index, images } = await buildIndexLayout(layout, {
      tag: 'latest',
      nested,
      images: [
        { platform: { os: 'linux', architecture: 'riscv64' }, layers: [[file('a', 'other')]] },
        { platform: hostPlatform(), layers: [[file('a', 'mine')], [file('b', 'too')]] },
      ],
    });
    const server = await serveLayout({ layout });
    try {
      const pulled = await pullWell(`${server.host}/multi`);
      expect(pulled.target.digest).toBe(index.digest);
      expect(pulled.layers.map(({ digest }) => digest)).toEqual(
        images[1]?.layers.map(({ digest }) => digest),
      );
      const reference = 'containerd.io/gc.ref.content.m.';
      expect(await labelsOf(index.digest)).toContain(`${reference}${nested ? 0 : 1}=`);
      expect(await lines('content', 'ls', '-q')).toHaveLength(documents);
    } finally {
      await server.close();
    }
  });

  it("takes an image in Docker's own format", async () => {
    const layout = await sandbox.folder('docker');
    const layers = [[file('a', 'mine')], [file('b', 'too')]];
    await buildLayout(layout, { tag: 'latest', docker: true, layers });
    const server = await serveLayout({ layout });
    try {
      for (const [snapshotter, how] of [
        ['overlayfs', 'unpacked'],
        ['siphon', 'prepared'],
      ] as const) {
        expect(ways(await pullWell(`${server.host}/own`, '--snapshotter', snapshotter))).toEqual([
          how,
        ]);
      }
    } finally {
      await server.close();
    }
  });

  it('moves an image to what its tag means now', async () => {
    const reference = await push('moving');
    const first = await pullWell(reference);
    const plain = await writeSmallLayout(sandbox, 'none');
    // Otherwise skopeo packs the layers, into what it remembers to have pushed before.
    await push('moving', plain.source, '--preserve-digests');
    const second = await pullWell(reference);
    expect(second.target.digest).not.toBe(first.target.digest);
    expect((await lines('images', 'ls')).join('\n')).toContain(second.target.digest);
    expect(await runIn(reference)).toBe('small files: 5\n');
  }, 60_000);

  it('shares the work of two pulls at once', async () => {
    const reference = await push('twice');
    const both = await Promise.all([
      pullWell(reference, '--snapshotter', 'overlayfs'),
      pullWell(reference, '--snapshotter', 'overlayfs'),
    ]);
    for (const { layers } of both) expect(layers).toHaveLength(image.layers.length);
    await nothingIsUnderWay();
    expect(await runIn(reference, 'overlayfs')).toBe('small files: 5\n');
  }, 60_000);

  it('says in plain lines what becomes of each blob, and the result in one', async () => {
    const reference = await push('told');
    const { address, namespace } = containerd;
    const there = ['--containerd', address, '--namespace', namespace];
    const { code, stdout, stderr } = await sandbox.siphon('pull', ...there, reference);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^pulled \S+\/told:latest@sha256:[0-9a-f]{64}: layers: \d+ prepared by the snapshotter \(.*\)\n$/,
    );
    expect(stderr).toMatch(/^manifest-sha256:[0-9a-f]{12} done /m);
    expect(stderr).toMatch(/^layer-sha256:[0-9a-f]{12} prepared /m);
  }, 60_000);
});

describe('a siphon pull --containerd that fails', () => {
  it('names the socket that is not there, or that nobody listens on', async () => {
    const at = (address: string): Promise<Outcome> =>
      sandbox.siphon('pull', '--containerd', address, `${registry.host}/any`);
    const missing = join(sandbox.directory, 'nowhere.sock');
    await nothingCame(await at(missing), `Cannot reach containerd at "${missing}"`);
    const plain = join(sandbox.directory, 'file');
    await writeFile(plain, '');
    await nothingCame(await at(plain), 'it is no socket');
    const deaf = join(sandbox.directory, 'deaf.sock');
    const child = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(deaf)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    await once(child, 'exit');
    expect((await stat(deaf)).isSocket()).toBe(true);
    await nothingCame(await at(deaf), `containerd at "${deaf}"`);
  });

  it('names the image that is not there', async () => {
    await nothingCame(await pull(`${registry.host}/nobody/has:this`), 'nobody/has:this');
  });

  it('names the snapshotters that there are', async () => {
    const outcome = await pull(await push('misnamed'), '--snapshotter', 'sihpon');
    await nothingCame(outcome, /"sihpon".*expected one of .*overlayfs.*siphon/);
  });

  it('refuses a source that containerd could not be told of', async () => {
    const outcome = await pull(image.source);
    expect(outcome).toMatchObject({ code: 2 });
    expect(outcome.stderr).toContain('expected an image in a registry');
  });

  it('keeps nothing of an image with a damaged layer', async () => {
    const reference = await push('damaged');
    const hex = image.layers.at(-1)?.digest.slice('sha256:'.length) ?? '';
    const blobs = join(registry.folder, 'data/docker/registry/v2/blobs/sha256');
    const data = join(blobs, hex.slice(0, 2), hex, 'data');
    const { size } = await stat(data);
    const good = await readFile(data);
    await writeFile(data, Buffer.alloc(size));
    try {
      const outcome = await pull(reference, '--snapshotter', 'overlayfs');
      await nothingCame(outcome, hex);
      expect(await lines('snapshots', '--snapshotter', 'overlayfs', 'ls')).toHaveLength(1);
    } finally {
      await writeFile(data, good);
    }
  }, 60_000);

  it.each(['siphon', 'overlayfs'])(
    'leaves nothing with snapshotter %s when it is interrupted',
    async (snapshotter) => {
      await push('interrupted');
      const digest = image.layers.at(-1)?.digest ?? '';
      await using proxy = await startStallingProxy(registry.host, digest);
      const { address, namespace } = containerd;
      const args = [
        '--containerd',
        address,
        '--namespace',
        namespace,
        '--snapshotter',
        snapshotter,
      ];
      const child = spawn(
        process.execPath,
        [program, '--root', sandbox.root, 'pull', ...args, `${proxy.host}/interrupted`],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      );
      const output = { stdout: '', stderr: '' };
      child.stdout.on('data', (text) => (output.stdout += String(text)));
      child.stderr.on('data', (text) => (output.stderr += String(text)));
      const exited = once(child, 'close');
      await proxy.stalled;
      const started = Date.now();
      child.kill('SIGINT');
      const [code] = (await exited) as [number];
      expect(Date.now() - started).toBeLessThan(10_000);
      await nothingCame({ code, ...output }, /Cannot .*: interrupted/);
      expect(await sandbox.shownLayers()).toEqual([]);
    },
    60_000,
  );
});

describe('siphon pull', () => {
  it('makes layers ready, so that a run needs no registry', async () => {
    const short = await startDockerRegistry();
    const reference = `${short.host}/offline:latest`;
    try {
      const insecure = '--dest-tls-verify=false';
      await must('skopeo', 'copy', '-q', insecure, image.source, `docker://${reference}`);
      await using own = await openSandbox();
      const outcome = await own.siphon('pull', reference);
      expect(outcome, outcome.stderr).toMatchObject({
        code: 0,
        stdout: `pulled ${reference}: ${image.layers.length} layers ready\n`,
      });
      await short.close();
      const ran = await own.siphon('run', '--rm', reference);
      expect(ran, ran.stderr).toMatchObject({ code: 0, stdout: 'small files: 5\n' });
    } finally {
      await short.close();
    }
  }, 60_000);
});
