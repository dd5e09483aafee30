/** Images of a registry that wants a login, which nobody but the kubelet knows, before and after siphon ends. */

import { randomBytes } from 'node:crypto';
import { readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { demoLayers } from '../../demo/image/demo-image.js';
import { file, withParents } from '../../demo/image/entry.js';
import { writeLayout } from '../../demo/image/write-layout.js';
import {
  type Containerd,
  startContainerd,
  untilReconnected,
} from '../../bench/programs/containerd.js';
import { type Cri, type Pod, connectCri, criNamespace } from '../support/cri-client.js';
import {
  type DockerRegistry,
  registryLogin,
  startDockerRegistry,
} from '../../bench/programs/docker-registry.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';

/** Far apart in a layer: each is in a span of its own. */
const files = ['one', 'two', 'three', 'four', 'five', 'six'];
const fileSize = 5 << 20;

let sandbox: Sandbox;
let registry: DockerRegistry;
let siphon: SiphonService;
let containerd: Containerd;
let cri: Cri;
let pod: Pod;
let image: string;
let lazyLayer: string;

beforeAll(async () => {
  sandbox = await openSandbox();
  registry = await startDockerRegistry({ auth: 'basic' });
  image = await publish();
  siphon = await startSiphonService(sandbox, ...(await configured('')));
  containerd = await startContainerd({
    snapshotters: { siphon: siphon.address },
    cri: criSection(),
  });
  await symlink(containerd.address, join(sandbox.directory, 'containerd'));
  cri = connectCri(containerd, siphon.address);
}, 120_000);

afterAll(async () => {
  await cri?.clear().catch(() => undefined);
  cri?.close();
  await containerd?.close();
  await siphon?.stop();
  await registry?.close();
  await sandbox?.[Symbol.asyncDispose]();
}, 60_000);

function criSection(): string {
  return `
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${registry.host}/app:latest"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "siphon"
    disable_snapshot_annotations = false`;
}

/** The command line's end for a service that stands in for containerd's image service. */
async function configured(more: string): Promise<string[]> {
  const path = join(sandbox.directory, 'pods.toml');
  const socket = join(sandbox.directory, 'containerd');
  const lazy = 'smallest_lazy_layer = 0\nfill_after = "never"\n'; // however long a test takes
  await writeFile(path, `${lazy}image_service = "${socket}"\n${more}`);
  return ['--config', path];
}

/** With a login that the service never sees. @returns the image's name */
async function publish(): Promise<string> {
  const [base] = await demoLayers({ dataSize: 0, smallFiles: 0 });
  if (base === undefined) throw new Error('the demo image has no layers');
  const entries = files.map((name) => {
    const content = Buffer.concat([Buffer.from(`${name}\n`), randomBytes(fileSize)]);
    const read = async function* () {
      yield content;
    };
    return file(`data/${name}`, { size: content.length, read });
  });
  const layout = join(sandbox.directory, 'layout');
  const { layers } = await writeLayout({
    layout,
    tag: 'latest',
    layers: [base, { title: 'data', entries: withParents(entries) }],
    process: { Env: ['PATH=/usr/bin:/bin'], Cmd: ['sleep', 'infinity'] },
  });
  lazyLayer = layers.at(-1)?.digest ?? '';
  const { username, password } = registryLogin;
  const name = `${registry.host}/app:latest`;
  const login = ['--dest-tls-verify=false', '--dest-creds', `${username}:${password}`];
  await must('skopeo', 'copy', '-q', ...login, `oci:${layout}:latest`, `docker://${name}`);
  const auth = Buffer.from(`${username}:${password}`).toString('base64');
  const path = join(sandbox.directory, 'publisher.json');
  await writeFile(path, JSON.stringify({ auths: { [registry.host]: { auth } } }));
  await using publisher = await openSandbox({ REGISTRY_AUTH_FILE: path });
  const built = await publisher.siphon('index', 'build', '--push', `docker://${name}`);
  expect(built, built.stderr).toMatchObject({ code: 0 });
  return name;
}

/** The first line of a file whose span nobody has read, in a container of its own. */
async function readInPod(name: string): Promise<{ code: number; stdout: string }> {
  await writeFile('/proc/sys/vm/drop_caches', '3');
  const container = await pod.run(`reader-${name}`, image, 'sleep', 'infinity');
  const { code, stdout } = await container.exec('head', '-n', '1', `/data/${name}`);
  await container.stop(0);
  await container.remove();
  return { code, stdout };
}

const found = (name: string) => ({ code: 0, stdout: `${name}\n` });

async function serverPid(): Promise<number> {
  const { stdout } = await sandbox.siphon('status', '--json');
  return (JSON.parse(stdout) as { serverPid: number }).serverPid;
}

async function restart(more: string): Promise<void> {
  await siphon.stop();
  siphon = await startSiphonService(sandbox, ...(await configured(more)));
  await untilReconnected(containerd, 'siphon', '--namespace', criNamespace);
}

it('is pulled lazily with what the kubelet brings, and with nothing else', async () => {
  const refused = /401 Unauthorized|authorization failed/;
  await expect(cri.pullImage(image)).rejects.toThrow(refused);
  const wrong = { ...registryLogin, password: 'wrong' };
  await expect(cri.pullImage(image, wrong)).rejects.toThrow(refused);
  await cri.pullImage(image, registryLogin);
  expect(await cri.imageNames(image)).toContain(image);
  const { stdout } = await containerd.ctr(['--namespace', criNamespace, 'content', 'ls', '-q']);
  expect(stdout).not.toContain(lazyLayer);
  pod = await cri.runPod('private', 'host');
  expect(await readInPod('one')).toEqual(found('one'));
}, 60_000);

it('is read after a pull with a wrong password, and by the server that follows one that was killed', async () => {
  const wrong = { ...registryLogin, password: 'wrong' };
  await expect(cri.pullImage(image, wrong)).rejects.toThrow();
  expect(await readInPod('two')).toEqual(found('two'));
  const killed = await serverPid();
  process.kill(killed, 'SIGKILL');
  await expect.poll(serverPid, { timeout: 20_000 }).not.toBe(killed);
  await untilReconnected(containerd, 'siphon', '--namespace', criNamespace);
  expect(await readInPod('three')).toEqual(found('three'));
}, 60_000);

it('cannot be read by another service until it is pulled again, and then by all that have its key', async () => {
  const key = join(sandbox.directory, 'key');
  await writeFile(key, randomBytes(32), { mode: 0o600 });
  await restart(`credentials_key = "${key}"\n`);
  expect(await readInPod('four')).toMatchObject({ code: 1 });
  await cri.pullImage(image, registryLogin);
  // A read that failed is repeated after a moment.
  await delay(1500);
  expect(await readInPod('five')).toEqual(found('five'));
  await restart(`credentials_key = "${key}"\n`);
  expect(await readInPod('six')).toEqual(found('six'));
}, 60_000);

it('leaves the password neither in the log nor in any file of siphon', async () => {
  const { password, username } = registryLogin;
  const pair = Buffer.from(`${username}:${password}`).toString('base64');
  const kept = await readdir(sandbox.root, { recursive: true, withFileTypes: true });
  const paths = kept.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
  expect(paths).toContain(join(sandbox.root, 'credentials'));
  for (const secret of [password, pair]) {
    expect(siphon.log()).not.toContain(secret);
    for (const path of paths.filter((one) => !/\/(fuse|xattr)\//.test(one))) {
      // Snapshots of the containers before may be on their way out.
      const bytes = await readFile(path).catch(() => Buffer.of());
      expect(bytes.includes(secret), path).toBe(false);
    }
  }
});
