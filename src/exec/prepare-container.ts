import { posix, resolve } from 'node:path';
import { SiphonError } from '../common/errors.js';
import { fileExists } from '../common/file-exists.js';
import { availableCapabilities } from './capabilities.js';
import { detectCgroupMode } from './cgroup-mode.js';
import { checkCommand } from './command-lookup.js';
import { containerSpec } from './container-spec.js';
import { networkMounts } from './default-mounts.js';
import { allDevices, findDevices } from './host-devices.js';
import { imageAnnotations } from './image-annotations.js';
import type { RunnableImage } from './image-process.js';
import { ensureDirectoryInRootfs } from './rootfs-path.js';
import type { ContainerOverrides } from './run-options.js';
import type { Mount, RuntimeSpec } from './runtime-spec.js';
import { readAccountFiles, resolveUser } from './user-lookup.js';

export interface PrepareOptions extends ContainerOverrides {
  /** As in SpecInput. */
  cgroup?: string;
  /** The root filesystem, writable. */
  rootfs: string;
  config: RunnableImage;
  /** The caller's terminal, `[columns, rows]`. */
  terminalSize?: readonly [number, number] | undefined;
}

/**
 * Looks into the root filesystem, makes what is missing there, and says what is to run.
 * @throws CommandError where the command cannot be run; SiphonError `usage`, `invalid`, `unsupported`
 */
export async function prepareContainer(options: PrepareOptions): Promise<RuntimeSpec> {
  const { cgroup, config, privileged = false } = options;
  const rootfs = resolve(options.rootfs);
  const image = config.config ?? {};
  const [files, cgroupMode, hostMounts, capabilities, devices] = await Promise.all([
    readAccountFiles(rootfs),
    detectCgroupMode(),
    networkMounts(options.network ?? 'host'),
    availableCapabilities(),
    Promise.all([findDevices(options.devices ?? []), privileged ? allDevices() : []]),
  ]);
  const volumes = await makeVolumes(rootfs, options);
  const spec = containerSpec({
    cgroup,
    rootfs,
    image,
    overrides: options,
    user: resolveUser(options.user ?? image.User ?? '', files),
    annotations: imageAnnotations(config),
    cgroupMode,
    hostMounts: [...hostMounts, ...volumes],
    availableCapabilities: capabilities,
    devices: devices.flat(),
    terminalSize: options.terminalSize,
  });
  await checkSources(options.mounts ?? []);
  await checkCommand(rootfs, spec);
  await ensureDirectoryInRootfs(rootfs, spec.process.cwd);
  return spec;
}

/**
 * Makes the folders that the image wants kept apart, as what they are in the image and what is written
 * there. They can be written to where nothing else can. @returns the mounts which that takes
 */
async function makeVolumes(
  rootfs: string,
  { config, readOnlyRoot = false }: PrepareOptions,
): Promise<Mount[]> {
  const mounts: Mount[] = [];
  for (const path of config.config?.Volumes ?? []) {
    const source = await ensureDirectoryInRootfs(rootfs, path);
    const destination = posix.resolve('/', path);
    if (!readOnlyRoot || destination === '/') continue;
    mounts.push({ destination, type: 'bind', source, options: ['rbind', 'rprivate', 'rw'] });
  }
  return mounts;
}

/** @throws SiphonError `not-found` where there is nothing to show in the container */
async function checkSources(mounts: readonly Mount[]): Promise<void> {
  for (const { type, source, destination } of mounts) {
    if (type !== 'bind' || (await fileExists(source))) continue;
    throw new SiphonError(
      'not-found',
      `Cannot show "${source}" in the container as "${destination}": there is no such file, expected one of this machine`,
    );
  }
}
