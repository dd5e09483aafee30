/**
 * Indexes that the siphon of now does not read, of another version or damaged, while their blobs are kept:
 * no registry is asked, and a running container reads on.
 */

import { readFile, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type Containerd, startContainerd } from '../../bench/programs/containerd.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { type SurvivalImage, readers, writeSurvivalImage } from '../support/survival-image.js';

/** Where SQLite's header has the format's version (sqlite.org/fileformat.html, section 1.3). */
const versionAt = 60;
const rebuilt = /index built again of the blob kept here/g;

let sandbox: Sandbox;
let siphon: SiphonService;
let containerd: Containerd;
let image: SurvivalImage;
let reference: string;

beforeAll(async () => {
  sandbox = await openSandbox();
  image = await writeSurvivalImage(sandbox);
  const registry = await serveLayout({ layout: image.layout });
  siphon = await startSiphonService(sandbox);
  containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
  reference = `${registry.host}/survival:latest`;
  const pull = ['images', 'rpull', '--snapshotter', 'siphon', '--plain-http', reference];
  await containerd.ctrRemote(pull);
  await registry.close();
}, 120_000);

afterAll(async () => {
  await containerd?.close();
  await siphon?.stop();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
}, 60_000);

async function indexes(of: Sandbox): Promise<string[]> {
  const folder = join(of.root, 'layers');
  const names = (await readdir(folder)).filter((name) => /^\d+$/.test(name));
  return names.map((name) => join(folder, name, 'index.db'));
}

async function replaceIndexes(
  change: (index: Buffer, at: number) => Buffer,
  of = sandbox,
): Promise<void> {
  for (const [at, path] of (await indexes(of)).entries()) {
    await writeFile(`${path}.changed`, change(await readFile(path), at));
    await rename(`${path}.changed`, path);
  }
}

function ofVersion2(index: Buffer): Buffer {
  index.writeUInt32BE(2, versionAt);
  return index;
}

async function serverOf(keeper: number): Promise<number> {
  const text = await readFile(`/proc/${keeper}/task/${keeper}/children`, 'utf8');
  for (const pid of text.split(' ').filter(Boolean).map(Number)) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (command.includes('bin/siphon')) return pid;
  }
  throw new Error('there is no server');
}

async function waitUntil(met: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = Date.now() + 30_000; !(await met()); await delay(50)) {
    if (Date.now() > end) throw new Error('It does not come to pass');
  }
}

const connected = (): Promise<void> =>
  waitUntil(() =>
    containerd.ctr(['snapshots', '--snapshotter', 'siphon', 'ls']).then(
      () => true,
      () => false,
    ),
  );

function inContainer(name: string, script: string): Promise<string> {
  return containerd.runToEnd(['--snapshotter', 'siphon', reference, name, 'sh', '-c', script]);
}

const pass = Object.values(readers).join('\n');

describe('siphon serve with indexes that it does not read', () => {
  it('builds those of another version again, and a running container reads on', async () => {
    const script = `cd /data; while :; do ${pass}\n[ ! -e /tmp/stop ] || exit 0; done`;
    const reading = inContainer('upgraded', script);
    // Before that, nothing can be started in it.
    await waitUntil(async () =>
      /^upgraded .* RUNNING/m.test((await containerd.ctr(['tasks', 'ls'])).stdout),
    );
    const server = await serverOf(siphon.pid);
    // Nothing is asked of the old one any more once its indexes are others.
    process.kill(server, 'SIGSTOP');
    await replaceIndexes(ofVersion2);
    await writeFile('/proc/sys/vm/drop_caches', '3');
    process.kill(server, 'SIGKILL');
    await waitUntil(() => siphon.log().match(rebuilt)?.length === 3);
    await connected();
    const touch = ['tasks', 'exec', '--exec-id', 'stop', 'upgraded', 'sh', '-c', ': >/tmp/stop'];
    await containerd.ctr(touch);
    const output = await reading;
    expect(output.length).toBeGreaterThan(0);
    const one = Object.values(image.expected).join('');
    expect(output).toBe(one.repeat(Math.round(output.length / one.length)));
  }, 90_000);

  it('restores layers without a registry where they are damaged, cut or of another version', async () => {
    await siphon.stop();
    await replaceIndexes((index, at) => {
      if (at === 0) return ofVersion2(index);
      return at === 1 ? Buffer.from('nothing of use') : index.subarray(0, index.length / 2);
    });
    siphon = await startSiphonService(sandbox);
    await connected();
    expect(await inContainer('restored', `cd /data; ${pass}`)).toBe(
      Object.values(image.expected).join(''),
    );
    expect(siphon.log().match(rebuilt)).toHaveLength(3);
  }, 90_000);
});

describe('siphon mount with indexes of another version, of layers whose blobs are elsewhere', () => {
  it('takes the published ones anew', async () => {
    await using publisher = await openSandbox();
    const published = await publisher.siphon('index', 'build', '--push', image.source);
    expect(published, published.stderr).toMatchObject({ code: 0 });
    const registry = await serveLayout({ layout: image.layout });
    await using other = await openSandbox();
    const folder = await other.folder('mnt');
    const big = async (): Promise<string> => {
      const mounted = await other.siphon('mount', `${registry.host}/survival:latest`, folder);
      expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
      try {
        return await must('sh', '-c', `cd "$1/data" && ${readers.big}`, 'sh', folder);
      } finally {
        expect(await other.siphon('umount', folder)).toMatchObject({ code: 0 });
      }
    };
    try {
      expect(await big()).toBe(image.expected.big);
      await replaceIndexes(ofVersion2, other);
      expect(await big()).toBe(image.expected.big);
    } finally {
      await registry.close();
    }
  }, 60_000);
});
