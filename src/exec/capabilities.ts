/**
 * The capabilities a container's root keeps: containerd's and docker's default set, with what the
 * caller adds and drops. None is inheritable or ambient, so that a program started by another user than
 * root has none of them.
 */

import { readFile } from 'node:fs/promises';
import { SiphonError } from '../common/errors.js';
import type { CapabilitySet } from './runtime-spec.js';

export const DEFAULT_CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
] as const;

/** All there are, each at the place of its number in <linux/capability.h>. */
const BY_NUMBER: readonly string[] = `
  CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
  NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
  SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
  AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
  PERFMON BPF CHECKPOINT_RESTORE`
  .trim()
  .split(/\s+/)
  .map((name) => `CAP_${name}`);

/** What of the default set is wanted otherwise. */
export interface CapabilityChoice {
  /** Everything this machine has. */
  privileged?: boolean;
  /** Names, with or without `CAP_`, in any case; `ALL` is every one. */
  capAdd?: readonly string[];
  capDrop?: readonly string[];
}

/**
 * As docker: `capDrop` with `ALL` leaves what `capAdd` names, and `capAdd` with `ALL` all but what
 * `capDrop` names.
 * @param available what this machine can give, {@link availableCapabilities}
 * @throws SiphonError `usage` on a name that is none
 */
export function chooseCapabilities(
  { privileged, capAdd = [], capDrop = [] }: CapabilityChoice,
  available: readonly string[],
): string[] {
  const [added, dropped] = [capAdd.map(canonicalName), capDrop.map(canonicalName)];
  if (privileged === true || added.includes('ALL')) {
    return available.filter((name) => !dropped.includes(name));
  }
  const base = dropped.includes('ALL')
    ? []
    : DEFAULT_CAPABILITIES.filter((name) => !dropped.includes(name));
  return [...new Set([...base, ...added])];
}

/** What a process of ours may hand on (proc(5), the bounding set of /proc/self/status). */
export async function availableCapabilities(): Promise<string[]> {
  const status = await readFile('/proc/self/status', 'latin1');
  const bits = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return BY_NUMBER.filter((_, number) => ((bits >> BigInt(number)) & 1n) === 1n);
}

export function capabilitySets(capabilities: readonly string[]): Record<CapabilitySet, string[]> {
  return {
    bounding: [...capabilities],
    effective: [...capabilities],
    permitted: [...capabilities],
  };
}

function canonicalName(text: string): string {
  const name = text.toUpperCase().replace(/^CAP_/, '');
  if (name === 'ALL' || BY_NUMBER.includes(`CAP_${name}`))
    return name === 'ALL' ? name : `CAP_${name}`;
  throw new SiphonError(
    'usage',
    `Cannot use capability "${text}": there is none of this name, expected one such as NET_ADMIN, or ALL`,
  );
}
