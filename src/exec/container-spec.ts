import { posix } from 'node:path';
import { DEFAULT_CAPABILITIES, capabilitySets } from './capabilities.js';
import type { CgroupMode } from './cgroup-mode.js';
import { MASKED_PATHS, READONLY_PATHS, defaultMounts, mergeMounts } from './default-mounts.js';
import { defaultDeviceRules } from './device-rules.js';
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
  RuntimeSpec,
} from './runtime-spec.js';
import { defaultSeccomp } from './seccomp-profile.js';
import type { ResolvedUser } from './user-lookup.js';

/** Open files a process may have; containerd's default. */
const OPEN_FILES = 1024;

export interface SpecInput {
  id: string;
  /** Absolute. */
  rootfs: string;
  image: ImageProcess;
  overrides: ContainerOverrides;
  user: ResolvedUser;
  cgroupMode: CgroupMode;
  /** Files of the host that the container sees, {@link networkMounts}. */
  hostMounts: readonly Mount[];
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
  const { image, overrides } = input;
  return {
    ociVersion: '1.0.2',
    process: processSection(input),
    root: { path: input.rootfs, readonly: overrides.readOnlyRoot ?? false },
    ...(overrides.hostname === undefined ? {} : { hostname: overrides.hostname }),
    mounts: mergeMounts([...defaultMounts(), ...input.hostMounts], overrides.mounts ?? []),
    // Named by the OCI image-spec, conversion.md.
    ...(image.StopSignal
      ? { annotations: { 'org.opencontainers.image.stopSignal': image.StopSignal } }
      : {}),
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
    capabilities: capabilitySets(),
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: OPEN_FILES, soft: OPEN_FILES }],
    // As docker: set-user-id programs of the image work, within the capabilities above.
    noNewPrivileges: false,
  };
}

function linuxSection({ id, overrides, cgroupMode }: SpecInput): Linux {
  const seccomp = overrides.seccomp ?? 'default';
  return {
    resources: { devices: defaultDeviceRules() },
    // One level only: the runtime removes this folder, but none above it.
    cgroupsPath: `/siphon-${id}`,
    namespaces: namespaces(overrides, cgroupMode).map((type) => ({ type })),
    maskedPaths: [...MASKED_PATHS],
    readonlyPaths: [...READONLY_PATHS],
    ...(seccomp === 'default' ? { seccomp: defaultSeccomp(DEFAULT_CAPABILITIES) } : {}),
  };
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
