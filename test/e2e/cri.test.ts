import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContainerState, PodSandboxState } from '#src/generated/runtime/v1/cri.js';
import { demoLayers } from '../../demo/image/demo-image.js';
import { writeLayout } from '../../demo/image/write-layout.js';
import {
  type Containerd,
  startContainerd,
  untilReconnected,
} from '../../bench/programs/containerd.js';
import { type Cri, type PodContainer, connectCri, criNamespace } from '../support/cri-client.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import {
  type PodNetwork,
  cniPlugins,
  makePodNetwork,
  podNetworkMissing,
} from '../support/pod-network.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';

const noNetwork = await podNetworkMissing();

let sandbox: Sandbox;
let image: DemoLayout;
let registry: DockerRegistry;
let siphon: SiphonService;
let network: PodNetwork;
let containerd: Containerd;
let cri: Cri;
let pauseLayers: string[];

beforeAll(async () => {
  sandbox = await openSandbox();
  image = await writeSmallLayout(sandbox);
  registry = await startDockerRegistry();
  await pushPause();
  siphon = await startSiphonService(sandbox);
  network = await makePodNetwork(sandbox.directory);
  containerd = await startContainerd({
    snapshotters: { siphon: siphon.address },
    cri: configuration(),
  });
  cri = connectCri(containerd);
}, 120_000);

afterAll(async () => {
  await cri?.clear().catch(() => undefined);
  cri?.close();
  await containerd?.close();
  await network?.[Symbol.asyncDispose]();
  await siphon?.stop();
  await registry?.close();
  const left = await sandbox.mounts();
  await sandbox[Symbol.asyncDispose]();
  expect(left).toEqual([]);
}, 60_000);

/** CRI's sections of containerd's configuration. */
function configuration(): string {
  return `
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${registry.host}/pause:latest"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "siphon"
    disable_snapshot_annotations = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${cniPlugins}"
    conf_dir = "${network.configurations}"`;
}

/** The image of every pod's first container, which holds the pod's namespaces and does nothing. */
async function pushPause(): Promise<void> {
  const [base] = await demoLayers({ dataSize: 0, smallFiles: 0 });
  if (base === undefined) throw new Error('the demo image has no layers');
  const layout = join(sandbox.directory, 'pause');
  const process = { Env: ['PATH=/usr/bin:/bin'], Cmd: ['sleep', 'infinity'] };
  const { layers } = await writeLayout({ layout, tag: 'latest', layers: [base], process });
  pauseLayers = layers.map(({ digest }) => digest);
  await copy(`oci:${layout}:latest`, 'pause');
}

async function copy(source: string, name: string): Promise<string> {
  const reference = `${registry.host}/${name}:latest`;
  await must('skopeo', 'copy', '-q', '--dest-tls-verify=false', source, `docker://${reference}`);
  return reference;
}

async function pulled(name: string): Promise<string> {
  const reference = await copy(image.source, name);
  await cri.pullImage(reference);
  return reference;
}

/** Layer blobs that CRI's images brought into containerd's content store. */
async function layersInContainerd(): Promise<string[]> {
  const { stdout } = await containerd.ctr(['--namespace', criNamespace, 'content', 'ls', '-q']);
  const layers = new Set<string>([...image.layers.map(({ digest }) => digest), ...pauseLayers]);
  return stdout.split('\n').filter((digest) => layers.has(digest));
}

async function untilExited(container: PodContainer): Promise<number> {
  for (;;) {
    const { state, exitCode } = await container.status();
    if (state === ContainerState.CONTAINER_EXITED) return exitCode;
    await delay(50);
  }
}

/** The log's lines as `<stream> <text>`. */
async function logOf({ logPath }: PodContainer): Promise<string[]> {
  const text = await readFile(logPath, 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => /^\S+Z (stdout|stderr) F (.*)$/.exec(line)?.slice(1).join(' ') ?? line);
}

describe("containerd's CRI plugin with siphon as its snapshotter", () => {
  it.each([
    ['with published indexes', 'indexed'],
    ['without any index', 'bare'],
  ])(
    'pulls lazily an image %s, and removes it wholly',
    async (_, name) => {
      const reference = await copy(image.source, name);
      if (name === 'indexed') {
        await using publisher = await openSandbox();
        const built = await publisher.siphon('index', 'build', '--push', `docker://${reference}`);
        expect(built, built.stderr).toMatchObject({ code: 0 });
      }
      await cri.pullImage(reference);
      expect(await cri.imageNames(reference)).toContain(reference);
      expect(await layersInContainerd()).toEqual([]);
      expect(await sandbox.shownLayers()).toHaveLength(image.layers.length);
      await cri.removeImage(reference);
      expect(await cri.imageNames(reference)).toBeUndefined();
      await expect.poll(() => sandbox.shownLayers()).toEqual([]);
    },
    60_000,
  );

  it('says which image does not exist', async () => {
    await expect(cri.pullImage(`${registry.host}/nobody/has:this`)).rejects.toThrow(
      /nobody\/has:this.*not found/,
    );
  });

  it('runs a pod on the host network: start, exec, logs, stop, remove', async () => {
    const reference = await pulled('hosted');
    expect(await cri.ready()).toContain('RuntimeReady');
    const pod = await cri.runPod('hosted', 'host');
    const container = await pod.run(
      ...(['main', reference, 'sh', '-c'] as const),
      'echo started; echo "$GIVEN" >&2; exec sleep infinity',
    );
    expect(await layersInContainerd()).toEqual([]);
    expect(await container.status()).toMatchObject({ state: ContainerState.CONTAINER_RUNNING });
    expect(await container.exec('ls', '/srv/site')).toEqual({
      code: 0,
      stdout: 'index.html\n',
      stderr: '',
    });
    const failing = await container.exec('sh', '-c', 'echo out; echo err >&2; exit 7');
    expect(failing).toEqual({ code: 7, stdout: 'out\n', stderr: 'err\n' });
    expect((await container.exec('cat', '/proc/sys/kernel/hostname')).stdout).toBe(
      `${hostname()}\n`,
    );
    await expect
      .poll(async () => (await logOf(container)).sort())
      .toEqual(['stderr by the pod', 'stdout started']);
    await container.stop(1);
    expect(await container.status()).toMatchObject({ state: ContainerState.CONTAINER_EXITED });
    await container.remove();
    await pod.stop();
    expect(await pod.status()).toMatchObject({ state: PodSandboxState.SANDBOX_NOTREADY });
    await pod.remove();
    await cri.removeImage(reference);
  }, 60_000);

  it("runs the image's own command to its end, in two containers of a pod", async () => {
    const reference = await pulled('several');
    const pod = await cri.runPod('several', 'host');
    const first = await pod.run('first', reference);
    const second = await pod.run('second', reference, 'sh', '-c', 'echo new > /made; cat /made');
    expect(await untilExited(first)).toBe(0);
    expect(await untilExited(second)).toBe(0);
    // A line that containerd has taken from a container that is over may be on its way to the file.
    await expect.poll(() => logOf(first)).toEqual(['stdout small files: 5']);
    await expect.poll(() => logOf(second)).toEqual(['stdout new']);
    await pod.stop();
    await pod.remove();
    await cri.removeImage(reference);
  }, 60_000);

  it.skipIf(noNetwork !== undefined)(
    `gives a pod an address on a CNI bridge, and takes everything back${noNetwork === undefined ? '' : ` (${noNetwork})`}`,
    async () => {
      const reference = await pulled('bridged');
      await expect.poll(() => cri.ready(), { timeout: 15_000 }).toContain('NetworkReady');
      const pod = await cri.runPod('bridged', 'pod');
      const ip = (await pod.status()).network?.ip ?? '';
      expect(ip.startsWith(network.prefix)).toBe(true);
      const container = await pod.run('main', reference, 'sleep', 'infinity');
      expect((await container.exec('cat', '/proc/net/fib_trie')).stdout).toContain(`-- ${ip}\n`);
      expect((await container.exec('cat', '/proc/sys/kernel/hostname')).stdout).toBe('bridged\n');
      expect(await answerOf(ip)).toBe('ECONNREFUSED');
      expect(await network.rules()).not.toEqual([]);
      expect(await layersInContainerd()).toEqual([]);
      await pod.stop();
      expect(await network.rules()).toEqual([]);
      await pod.remove();
      const interfaces = await must('ip', '-o', 'link', 'show', 'master', network.bridge);
      expect(interfaces).toBe('');
      await cri.removeImage(reference);
    },
    60_000,
  );

  it('starts containers of an image that was pulled before siphon was restarted', async () => {
    const reference = await pulled('restarted');
    await siphon.stop();
    siphon = await startSiphonService(sandbox);
    await untilReconnected(containerd, 'siphon', '--namespace', criNamespace);
    const pod = await cri.runPod('restarted', 'host');
    const container = await pod.run('main', reference);
    expect(await untilExited(container)).toBe(0);
    await expect.poll(() => logOf(container)).toEqual(['stdout small files: 5']);
    await pod.stop();
    await pod.remove();
    await cri.removeImage(reference);
  }, 60_000);

  it('leaves no layer and no container behind', async () => {
    await cri.clear();
    await expect.poll(() => sandbox.shownLayers()).toEqual([]);
    const { stdout } = await containerd.ctr([
      '--namespace',
      criNamespace,
      'containers',
      'ls',
      '-q',
    ]);
    expect(stdout).toBe('');
    await rm(join(containerd.folder, 'logs'), { recursive: true, force: true });
  }, 30_000);
});

/** What a port that nobody listens on answers: proof of the pod's own network stack. */
async function answerOf(host: string): Promise<string | undefined> {
  const socket = connect({ host, port: 9, timeout: 5_000 });
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  return error.code;
}
