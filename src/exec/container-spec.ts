import { posix } from 'node:path';
import { capabilitySets, chooseCapabilities } from './capabilities.js';
import type { CgroupMode } from './cgroup-mode.js';
import { MASKED_PATHS, READONLY_PATHS, defaultMounts, mergeMounts } from './default-mounts.js';
import { deviceRules } from './device-rules.js';
import type { GivenDevice } from './host-devices.js';
import type { ImageProcess } from './image-process.js';
import { processArgs } from './process-args.js';
import { processEnv } from './process-env.js';
import type { ContainerOverrides } from './run-options.js';
import type {
  Linux,
  Mount,
  NamespaceType,
  Process,
  ProcessUser,
  ResourceLimit,
  Resources,
  RuntimeSpec,
} from './runtime-spec.js';
import { defaultSeccomp } from './seccomp-profile.js';
import type { ResolvedUser } from './user-lookup.js';

/** Open files a process may have; containerd's default. */
const OPEN_FILES = 1024;

/** Of the cgroup's processor quota, in microseconds; the kernel's default. */
const CPU_PERIOD = 100_000;

export interface SpecInput {
  /** The container's cgroup, below each hierarchy's root; without one the runtime chooses. */
  cgroup?: string | undefined;
  /** Absolute, or relative to the bundle. */
  rootfs: string;
  image: ImageProcess;
  overrides: ContainerOverrides;
  user: ResolvedUser;
  cgroupMode: CgroupMode;
  /** {@link imageAnnotations} */
  annotations?: Readonly<Record<string, string>>;
  /** Files of the host that the container sees, {@link networkMounts}, and volumes. */
  hostMounts: readonly Mount[];
  /** What a process of ours may hand on. */
  availableCapabilities: readonly string[];
  /** Devices beside the harmless ones. */
  devices?: readonly GivenDevice[];
  /** The caller's terminal, `[columns, rows]`; the container's gets the same size from the start. */
  terminalSize?: readonly [number, number] | undefined;
  /** Default: this process's. */
  callerEnv?: NodeJS.ProcessEnv;
}

/**
 * The config.json of a container (OCI runtime-spec 1.0.2), from its image, what the caller wants
 * otherwise, and what was found out about the host and the root filesystem.
 * @throws SiphonError `usage` where there is no command to run or a variable has no name
 */
export function containerSpec(input: SpecInput): RuntimeSpec {
  const { overrides, annotations = {} } = input;
  const base = [...defaultMounts(overrides.privileged), ...input.hostMounts];
  return {
    ociVersion: '1.0.2',
    process: processSection(input),
    root: { path: input.rootfs, readonly: overrides.readOnlyRoot ?? false },
    ...(overrides.hostname === undefined ? {} : { hostname: overrides.hostname }),
    mounts: mergeMounts(base, overrides.mounts ?? []),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations: { ...annotations } }),
    linux: linuxSection(input),
  };
}

function processSection(input: SpecInput): Process {
  const { image, overrides, user, callerEnv, terminalSize: [width, height] = [0, 0] } = input;
  const terminal = overrides.terminal ?? false;
  return {
    terminal,
    ...(terminal && width > 0 && height > 0 ? { consoleSize: { height, width } } : {}),
    user: processUser(user),
    args: processArgs(image, overrides),
    env: processEnv(image, overrides, user.home, callerEnv),
    cwd: posix.resolve('/', overrides.workdir ?? image.WorkingDir ?? ''),
    capabilities: capabilitySets(chooseCapabilities(overrides, input.availableCapabilities)),
    rlimits: resourceLimits(overrides.rlimits ?? []),
    // As docker: set-user-id programs of the image work, within the capabilities above.
    noNewPrivileges: false,
  };
}

function linuxSection(input: SpecInput): Linux {
  const { cgroup, overrides, cgroupMode, devices = [] } = input;
  const { privileged = false, seccomp = 'default' } = overrides;
  const capabilities = chooseCapabilities(overrides, input.availableCapabilities);
  const isFiltered = seccomp === 'default' && !privileged;
  return {
    resources: resources(overrides, devices),
    ...(devices.length === 0 ? {} : { devices: devices.map(({ node }) => node) }),
    ...(cgroup === undefined ? {} : { cgroupsPath: `/${cgroup}` }),
    namespaces: namespaces(overrides, cgroupMode).map((type) => ({ type })),
    maskedPaths: privileged ? [] : [...MASKED_PATHS],
    readonlyPaths: privileged ? [] : [...READONLY_PATHS],
    ...(isFiltered ? { seccomp: defaultSeccomp(capabilities) } : {}),
  };
}

function resources(
  { privileged, memory, cpus }: ContainerOverrides,
  devices: readonly GivenDevice[],
): Resources {
  const quota = Math.round((cpus ?? 0) * CPU_PERIOD);
  return {
    devices: privileged === true ? [{ allow: true, access: 'rwm' }] : deviceRules(devices),
    ...(memory === undefined ? {} : { memory: { limit: memory } }),
    ...(cpus === undefined ? {} : { cpu: { quota, period: CPU_PERIOD } }),
  };
}

function resourceLimits(given: readonly ResourceLimit[]): ResourceLimit[] {
  const base = [{ type: 'RLIMIT_NOFILE', hard: OPEN_FILES, soft: OPEN_FILES }];
  const types = new Set(given.map(({ type }) => type));
  return [...base.filter(({ type }) => !types.has(type)), ...given];
}

function namespaces(overrides: ContainerOverrides, cgroupMode: CgroupMode): NamespaceType[] {
  const types: NamespaceType[] = ['pid', 'ipc', 'uts', 'mount'];
  if ((overrides.network ?? 'host') === 'none') types.push('network');
  if (cgroupMode === 'unified') types.push('cgroup');
  return types;
}

function processUser({ uid, gid, additionalGids }: ResolvedUser): ProcessUser {
  return { uid, gid, additionalGids };
}
