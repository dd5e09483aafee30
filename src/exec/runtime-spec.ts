/**
 * The parts of the OCI runtime-spec (version 1.0.2, config.md and config-linux.md) which are
 * generated here. Property names are the specification's.
 */
export interface RuntimeSpec {
  ociVersion: string;
  process: Process;
  root: { path: string; readonly: boolean };
  hostname?: string;
  mounts: Mount[];
  annotations?: Record<string, string>;
  linux: Linux;
}

export interface Process {
  terminal: boolean;
  /** In characters. */
  consoleSize?: { height: number; width: number };
  user: ProcessUser;
  args: string[];
  env: string[];
  cwd: string;
  capabilities: Record<CapabilitySet, string[]>;
  rlimits: ResourceLimit[];
  noNewPrivileges: boolean;
}

/** setrlimit(2). */
export interface ResourceLimit {
  /** `RLIMIT_…` */
  type: string;
  /** 2^64 is no limit. */
  hard: number;
  soft: number;
}

export type CapabilitySet = 'bounding' | 'effective' | 'permitted';

export interface ProcessUser {
  uid: number;
  gid: number;
  /** Supplementary groups. */
  additionalGids: number[];
}

export interface Mount {
  destination: string;
  type: string;
  source: string;
  options: string[];
}

export interface Linux {
  resources: Resources;
  devices?: Device[];
  cgroupsPath?: string;
  namespaces: { type: NamespaceType }[];
  maskedPaths: string[];
  readonlyPaths: string[];
  seccomp?: Seccomp;
}

export type NamespaceType = 'pid' | 'ipc' | 'uts' | 'mount' | 'network' | 'cgroup';

export interface Resources {
  devices: DeviceRule[];
  /** Bytes. */
  memory?: { limit: number };
  /** Microseconds of processor time in each period. */
  cpu?: { quota: number; period: number };
}

/** A device node that is made in the container. */
export interface Device {
  path: string;
  type: 'c' | 'b';
  major: number;
  minor: number;
  /** Permission bits. */
  fileMode: number;
  uid: number;
  gid: number;
}

export interface DeviceRule {
  allow: boolean;
  type?: 'c' | 'b' | 'a';
  major?: number;
  minor?: number;
  access: string;
}

export interface Seccomp {
  defaultAction: SeccompAction;
  architectures: string[];
  syscalls: SeccompRule[];
}

export type SeccompAction = 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO';

export interface SeccompRule {
  names: string[];
  action: SeccompAction;
  errnoRet?: number;
  args?: SeccompArgument[];
}

export interface SeccompArgument {
  /** Position of the system call's argument, from 0. */
  index: number;
  value: number;
  /** With `SCMP_CMP_MASKED_EQ`, `value` is the mask and this is what must remain. */
  valueTwo?: number;
  op: 'SCMP_CMP_EQ' | 'SCMP_CMP_NE' | 'SCMP_CMP_MASKED_EQ';
}
