/** The kubelet's part: containerd's CRI plugin driven over its own gRPC, as promises. */

import { type ClientUnaryCall, type ServiceError, credentials } from '@grpc/grpc-js';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type AuthConfig,
  type ContainerConfig,
  type ContainerStatus,
  ImageServiceClient,
  NamespaceMode,
  type PodSandboxConfig,
  type PodSandboxStatus,
  RuntimeServiceClient,
} from '#src/generated/runtime/v1/cri.js';
import type { Containerd } from '../../bench/programs/containerd.js';

export interface Cri {
  /** Conditions that hold: `RuntimeReady`, `NetworkReady`. */
  ready(): Promise<string[]>;
  /** @param auth what a pod's pull secret says */
  pullImage(reference: string, auth?: Partial<AuthConfig>): Promise<string>;
  /** References and digests by which the image is known; `undefined` where it is not. */
  imageNames(reference: string): Promise<string[] | undefined>;
  removeImage(reference: string): Promise<void>;
  runPod(name: string, network: 'host' | 'pod'): Promise<Pod>;
  /** Stops and removes every pod with its containers, and every image. */
  clear(): Promise<void>;
  close(): void;
}

export interface Pod {
  id: string;
  status(): Promise<PodSandboxStatus>;
  /** Creates and starts a container, with the image's own command where none is given. */
  run(name: string, reference: string, ...command: string[]): Promise<PodContainer>;
  stop(): Promise<void>;
  remove(): Promise<void>;
}

export interface PodContainer {
  id: string;
  /** Its output so far, in CRI's format; made by containerd. */
  logPath: string;
  status(): Promise<ContainerStatus>;
  exec(...command: string[]): Promise<{ code: number; stdout: string; stderr: string }>;
  /** @param timeout seconds until it is killed */
  stop(timeout: number): Promise<void>;
  remove(): Promise<void>;
}

/** containerd's namespace of all that CRI makes. */
export const criNamespace = 'k8s.io';

type Done<T> = (error: ServiceError | null, response: T) => void;

/** @param imageService path of another socket that images are managed by */
export function connectCri(containerd: Containerd, imageService = containerd.address): Cri {
  const insecure = credentials.createInsecure();
  const runtime = new RuntimeServiceClient(`unix:${containerd.address}`, insecure);
  const images = new ImageServiceClient(`unix:${imageService}`, insecure);
  const removePod = async (podSandboxId: string): Promise<void> => {
    await call((done) => runtime.stopPodSandbox({ podSandboxId }, done));
    await call((done) => runtime.removePodSandbox({ podSandboxId }, done));
  };
  const cri: Cri = {
    async ready() {
      const { status } = await call<{ status?: { conditions: Condition[] } | undefined }>((done) =>
        runtime.status({ verbose: false }, done),
      );
      return (status?.conditions ?? [])
        .filter(({ status: holds }) => holds)
        .map(({ type }) => type);
    },
    async pullImage(image, auth) {
      const request = { image: { image }, auth: auth && { ...noAuth, ...auth } };
      const { imageRef } = await call<{ imageRef: string }>((done) =>
        images.pullImage(request, done),
      );
      return imageRef;
    },
    async imageNames(name) {
      const { image } = await call<{ image?: ImageNames | undefined }>((done) =>
        images.imageStatus({ image: { image: name } }, done),
      );
      return image === undefined ? undefined : [...image.repoTags, ...image.repoDigests];
    },
    async removeImage(image) {
      await call((done) => images.removeImage({ image: { image } }, done));
    },
    async runPod(name, network) {
      const config = podConfig(name, network, containerd);
      const { podSandboxId } = await call<{ podSandboxId: string }>((done) =>
        runtime.runPodSandbox({ config }, done),
      );
      return podOf(podSandboxId, config, runtime);
    },
    async clear() {
      const { items } = await call<{ items: { id: string }[] }>((done) =>
        runtime.listPodSandbox({}, done),
      );
      for (const { id } of items) await removePod(id);
      const list = await call<{ images: { id: string }[] }>((done) => images.listImages({}, done));
      for (const { id } of list.images) await cri.removeImage(id);
    },
    close() {
      runtime.close();
      images.close();
    },
  };
  return cri;
}

const noAuth: AuthConfig = {
  username: '',
  password: '',
  auth: '',
  serverAddress: '',
  identityToken: '',
  registryToken: '',
};

interface Condition {
  type: string;
  status: boolean;
}

interface ImageNames {
  repoTags: string[];
  repoDigests: string[];
}

function podOf(podSandboxId: string, config: PodSandboxConfig, runtime: RuntimeServiceClient): Pod {
  return {
    id: podSandboxId,
    async status() {
      const { status } = await call<{ status?: PodSandboxStatus | undefined }>((done) =>
        runtime.podSandboxStatus({ podSandboxId }, done),
      );
      return present(status);
    },
    async run(name, reference, ...command) {
      const request = {
        podSandboxId,
        config: containerConfig(name, reference, command, config),
        sandboxConfig: config,
      };
      const { containerId } = await call<{ containerId: string }>((done) =>
        runtime.createContainer(request, done),
      );
      await call((done) => runtime.startContainer({ containerId }, done));
      return containerOf(containerId, join(config.logDirectory, `${name}.log`), runtime);
    },
    async stop() {
      await call((done) => runtime.stopPodSandbox({ podSandboxId }, done));
    },
    async remove() {
      await call((done) => runtime.removePodSandbox({ podSandboxId }, done));
      await rm(config.logDirectory, { recursive: true, force: true });
    },
  };
}

function containerOf(
  containerId: string,
  logPath: string,
  runtime: RuntimeServiceClient,
): PodContainer {
  return {
    id: containerId,
    logPath,
    async status() {
      const { status } = await call<{ status?: ContainerStatus | undefined }>((done) =>
        runtime.containerStatus({ containerId }, done),
      );
      return present(status);
    },
    async exec(...cmd) {
      const { stdout, stderr, exitCode } = await call<ExecAnswer>((done) =>
        runtime.execSync({ containerId, cmd, timeout: 20n }, done),
      );
      return {
        code: exitCode,
        stdout: Buffer.from(stdout).toString(),
        stderr: Buffer.from(stderr).toString(),
      };
    },
    async stop(timeout) {
      const request = { containerId, timeout: BigInt(timeout) };
      await call((done) => runtime.stopContainer(request, done));
    },
    async remove() {
      await call((done) => runtime.removeContainer({ containerId }, done));
    },
  };
}

interface ExecAnswer {
  stdout: Uint8Array;
  stderr: Uint8Array;
  exitCode: number;
}

function podConfig(
  name: string,
  network: 'host' | 'pod',
  { folder, namespace }: Containerd,
): PodSandboxConfig {
  return {
    metadata: { name, uid: `${name}-uid`, namespace: 'default', attempt: 0 },
    hostname: network === 'host' ? '' : name,
    logDirectory: join(folder, 'logs', name),
    linux: {
      // Beside the cgroups of ctr's containers, which go with containerd's folder.
      cgroupParent: `/${namespace}`,
      securityContext: { namespaceOptions: namespaceOptions(network) },
    },
  };
}

function containerConfig(
  name: string,
  reference: string,
  command: string[],
  pod: PodSandboxConfig,
): ContainerConfig {
  const namespaceOptions = pod.linux?.securityContext?.namespaceOptions;
  return {
    metadata: { name, attempt: 0 },
    image: { image: reference },
    command,
    args: [],
    workingDir: '',
    envs: [{ key: 'GIVEN', value: 'by the pod' }],
    logPath: `${name}.log`,
    linux: { securityContext: { namespaceOptions } },
  };
}

function namespaceOptions(network: 'host' | 'pod') {
  return {
    network: network === 'host' ? NamespaceMode.NODE : NamespaceMode.POD,
    pid: NamespaceMode.CONTAINER,
    ipc: NamespaceMode.POD,
  };
}

function call<T>(start: (done: Done<T>) => ClientUnaryCall): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, response) => (error === null ? resolve(response) : reject(error)));
  });
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('CRI answers without a status');
  return value;
}
