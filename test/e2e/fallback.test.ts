/** What becomes of each layer of an image, through containerd: what is logged, counted, and on disk. */

import { existsSync } from 'node:fs';
import { cp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Digest, chainIds, digestHex } from '#src/common/digest.js';
import { writeBlob } from '#src/content/layout-writer.js';
import type { ServiceStatus } from '#src/monitor/service-status.js';
import type { Descriptor } from '#src/remote/descriptor.js';
import { type Containerd, startContainerd } from '../../bench/programs/containerd.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import {
  type BuiltImage,
  buildLayout,
  dir,
  file,
  fileWithXattrs,
  hardlink,
  noise,
  opaque,
  symlink,
  whiteout,
} from '../support/images.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type Tree, readTree } from '../support/tree.js';

const absent = ['/usr/bin/ctr-remote', '/usr/bin/docker-registry', '/usr/bin/skopeo'].filter(
  (program) => !existsSync(program),
);

/** The first and the last are large enough to be lazy; those between are not. */
const layers = [
  [
    dir('deep', { mode: 0o750, uid: 7 }),
    dir('deep/er'),
    file('deep/er/a', 'a'),
    file('noise', noise(300_000)),
    file('gone', ''),
  ],
  [
    file('deep/er/b', 'b', { mode: 0o4711, uid: 1000, gid: 1001 }),
    hardlink('deep/er/c', 'deep/er/b', { mode: 0o4711, uid: 1000, gid: 1001 }),
    symlink('link', 'deep/er/b'),
    whiteout('gone'),
    fileWithXattrs('marked', '', { 'user.mark': 'yes' }),
  ],
  [dir('deep'), opaque('deep'), file('deep/new', 'new')],
  [file('more', noise(300_000, 'more'))],
];
const small = [1, 2];

describe.skipIf(absent.length > 0)(`falling back: ${absent.join(', ')}`, () => {
  let sandbox: Sandbox;
  let image: BuiltImage;
  let registry: DockerRegistry;
  let siphon: SiphonService;
  let containerd: Containerd;
  let metrics: string;

  beforeAll(async () => {
    sandbox = await openSandbox();
    image = await buildLayout(join(sandbox.directory, 'layout'), { tag: 'latest', layers });
    registry = await startDockerRegistry();
    await start();
    containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
  }, 60_000);

  afterAll(async () => {
    await containerd?.close();
    await siphon?.stop();
    await registry?.close();
    const left = await sandbox.mounts();
    await sandbox[Symbol.asyncDispose]();
    expect(left).toEqual([]);
  }, 60_000);

  async function start(): Promise<void> {
    metrics = join(sandbox.directory, 'metrics.sock');
    const config = join(sandbox.directory, 'policy.toml');
    await writeFile(config, `smallest_lazy_layer = 100000\nmetrics_address = "${metrics}"\n`);
    siphon = await startSiphonService(sandbox, '--config', config, '--log-level', 'info');
  }

  async function push(name: string): Promise<string> {
    const reference = `${registry.host}/${name}:latest`;
    const to = ['--dest-tls-verify=false', `oci:${image.layout}:latest`, `docker://${reference}`];
    await must('skopeo', 'copy', '-q', ...to);
    return reference;
  }

  /** The image with another config or manifest, in the registry. */
  async function otherImage(name: string, change: (document: object) => void): Promise<string> {
    const layout = join(sandbox.directory, name);
    await cp(image.layout, layout, { recursive: true });
    const rewrite = async (
      { digest, mediaType }: Descriptor,
      also: object,
    ): Promise<Descriptor> => {
      const path = join(layout, 'blobs/sha256', digestHex(digest));
      const document = { ...(JSON.parse(await readFile(path, 'utf8')) as object), ...also };
      change(document);
      return writeBlob(layout, Buffer.from(JSON.stringify(document)), mediaType);
    };
    const config = await rewrite(image.config, {});
    const manifest = await rewrite(image.manifest, { config });
    const reference = `${registry.host}/${name}:latest`;
    // skopeo would not take it.
    const blobs = `http://${registry.host}/v2/${name}`;
    for (const { digest } of [config, ...image.layers]) await upload(blobs, layout, digest);
    const answer = await fetch(`${blobs}/manifests/latest`, {
      method: 'PUT',
      headers: { 'content-type': manifest.mediaType },
      body: await readFile(join(layout, 'blobs/sha256', digestHex(manifest.digest))),
    });
    expect(answer.status).toBe(201);
    return reference;
  }

  const pulls = {
    'ctr-remote i rpull': (reference: string) =>
      containerd.ctrRemote([
        'images',
        'rpull',
        '--snapshotter',
        'siphon',
        '--plain-http',
        reference,
      ]),
    'siphon pull --containerd': async (reference: string) => {
      const { address, namespace } = containerd;
      const there = ['--containerd', address, '--namespace', namespace];
      const pulled = await sandbox.siphon('pull', ...there, '--snapshotter', 'siphon', reference);
      expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    },
  };

  async function status(): Promise<ServiceStatus> {
    const { stdout } = await sandbox.siphon('status', '--json');
    return JSON.parse(stdout) as ServiceStatus;
  }

  /** Folders of an image's snapshots, bottom first. */
  async function foldersOf(snapshotter: string): Promise<string[]> {
    const top = chainIds(image.diffIds).at(-1) ?? '';
    const key = `look-${snapshotter}-${Date.now()}`;
    const args = ['snapshots', '--snapshotter', snapshotter];
    const { stdout } = await containerd.ctr([...args, 'view', '--mounts', key, top]);
    // A garbage collection may have been faster.
    await containerd.ctr([...args, 'rm', key]).catch(() => undefined);
    const [mount] = JSON.parse(stdout) as { Options: string[] }[];
    const lower = mount?.Options.find((option) => option.startsWith('lowerdir=')) ?? '';
    return lower.slice('lowerdir='.length).split(':').toReversed();
  }

  const forget = (reference: string): Promise<unknown> =>
    containerd.ctr(['images', 'rm', '--sync', reference]);

  it.each(Object.keys(pulls) as (keyof typeof pulls)[])(
    'decides for each layer by itself: %s',
    async (how) => {
      const reference = await push(how.replaceAll(/\W+/g, '-'));
      const before = (await status()).counters.layers;
      await pulls[how](reference);
      const folders = await foldersOf('siphon');
      expect(folders.map((folder) => folder.includes('/snapshots/'))).toEqual([
        false,
        true,
        true,
        false,
      ]);
      const { counters, layers: served } = await status();
      const counted = (decision: string, among = counters.layers): number =>
        among.find((one) => one.decision === decision)?.count ?? 0;
      expect(counted('streamed') - counted('streamed', before)).toBe(2);
      expect(counted('unpacked') - counted('unpacked', before)).toBe(2);
      expect(served).toMatchObject([
        { digest: image.layers[0]?.digest, decision: 'streamed', servedFrom: 'disk' },
        { digest: image.layers[3]?.digest, decision: 'streamed', servedFrom: 'disk' },
      ]);
      for (const at of small)
        expect(siphon.log()).toContain(
          `"layer":"${image.layers[at]?.digest}","way":"unpacked","reason":"small"`,
        );
      await forget(reference);
      // Another collection of containerd's may be at it.
      for (const folder of ['snapshots', 'unpacking'])
        await expect.poll(() => readdir(join(sandbox.root, folder))).toEqual([]);
    },
    60_000,
  );

  it('unpacks as containerd does', async () => {
    const reference = await push('same');
    await pulls['ctr-remote i rpull'](reference);
    const ours = await foldersOf('siphon');
    await containerd.ctr(['images', 'pull', '--plain-http', reference]);
    const theirs = await foldersOf('overlayfs');
    for (const at of small) {
      const [our, their] = await Promise.all(
        [ours[at], theirs[at]].map((one) => readTree(one ?? '')),
      );
      expect(comparable(our ?? {})).toEqual(comparable(their ?? {}));
    }
    await forget(reference);
  }, 60_000);

  it('gives files in place of a lazy layer that cannot be served any more', async () => {
    const reference = await push('broken');
    await pulls['ctr-remote i rpull'](reference);
    const { layers: served } = await status();
    await siphon.stop();
    const { number } = served.find(({ digest }) => digest === image.layers[0]?.digest) ?? {};
    await rm(join(sandbox.root, 'layers', String(number), 'index.db'));
    const blobs = join(sandbox.root, 'content/blobs/sha256');
    await rm(join(blobs, image.layers[0]?.digest.slice('sha256:'.length) ?? ''));
    await start();
    await expect
      .poll(() => foldersOf('siphon').catch(() => []), { timeout: 30_000, interval: 500 })
      .toHaveLength(4);
    const folders = await foldersOf('siphon');
    expect(await readFile(join(folders[0] ?? '', 'deep/er/a'), 'utf8')).toBe('a');
    expect((await status()).counters.layers).toContainEqual({
      decision: 'unpacked',
      reason: 'not-served',
      count: 1,
    });
    await forget(reference);
  }, 60_000);

  it('leaves to containerd what is no layer that it knows, and small layers with a wrong diff id', async () => {
    const wrong = await otherImage('wrong', (document) => {
      const { rootfs } = document as { rootfs?: { diff_ids: string[] } };
      if (rootfs !== undefined) rootfs.diff_ids[1] = `sha256:${'0'.repeat(64)}`;
    });
    await expect(pulls['ctr-remote i rpull'](wrong)).rejects.toThrow();
    const strange = await otherImage('strange', (document) => {
      const [, layer] = (document as { layers?: { mediaType: string }[] }).layers ?? [];
      if (layer !== undefined) layer.mediaType += '+encrypted';
    });
    await expect(pulls['ctr-remote i rpull'](strange)).rejects.toThrow();
    const { layers: counted } = (await status()).counters;
    expect(counted).toContainEqual({
      decision: 'left',
      reason: 'corrupt',
      count: expect.any(Number) as number,
    });
    expect(counted).toContainEqual({
      decision: 'left',
      reason: 'unsupported',
      count: expect.any(Number) as number,
    });
    expect(siphon.log()).toContain(
      'its media type is \\"application/vnd.oci.image.layer.v1.tar+gzip+encrypted\\"',
    );
  }, 60_000);

  it('tells counters to Prometheus, at a socket for its own user only', async () => {
    expect((await stat(metrics)).mode & 0o777).toBe(0o600);
    const text = await new Promise<string>((resolve, reject) => {
      get({ socketPath: metrics, path: '/metrics' }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (piece: string) => (body += piece));
        response.once('end', () => resolve(body));
      }).once('error', reject);
    });
    expect(text).toMatch(/^siphon_layers_total\{decision="unpacked",reason="not-served"\} 1$/m);
    expect(text).toMatch(
      /^siphon_registry_requests_total\{host="127\.0\.0\.1:\d+",answer="2xx"\} [1-9]/m,
    );
    expect(text).toMatch(/^siphon_registry_answer_seconds_bucket\{host="[^"]+",le="0\.1"\} \d+$/m);
    expect(text).toMatch(/^siphon_registry_received_bytes_total\{host="[^"]+"\} [1-9]/m);
    expect(text).toMatch(/^siphon_prepare_seconds_count\{decision="unpacked"\} [1-9]/m);
    expect(text).toMatch(/^siphon_fuse_misses_total \d+$/m);
  });

  it('says that no service runs', async () => {
    await using other = await openSandbox();
    const { code, stderr } = await other.siphon('status');
    expect(code).toBe(1);
    expect(stderr).toContain(`No service runs on "${other.root}"`);
  });
});

async function upload(repository: string, layout: string, digest: Digest): Promise<void> {
  const begun = await fetch(`${repository}/blobs/uploads/`, { method: 'POST' });
  const to = new URL(begun.headers.get('location') ?? '', repository);
  to.searchParams.set('digest', digest);
  const body = await readFile(join(layout, 'blobs/sha256', digestHex(digest)));
  const headers = { 'content-type': 'application/octet-stream' };
  expect((await fetch(to, { method: 'PUT', headers, body })).status).toBe(201);
}

/** Without the times that containerd leaves to chance: of whiteouts, of the root, of folders it copies up. */
function comparable(tree: Tree): Tree {
  return Object.fromEntries(
    Object.entries(tree).map(([path, entry]) => {
      const { mtime: _, ...rest } = entry;
      return [path, entry.device === '0' || /^(\.|deep|deep\/er)$/.test(path) ? rest : entry];
    }),
  );
}
