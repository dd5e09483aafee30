/**
 * The capabilities a container's root keeps: containerd's and docker's default set. None is
 * inheritable or ambient, so that a program started by another user than root has none of them.
 */

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

export function capabilitySets(
  capabilities: readonly string[] = DEFAULT_CAPABILITIES,
): Record<CapabilitySet, string[]> {
  return {
    bounding: [...capabilities],
    effective: [...capabilities],
    permitted: [...capabilities],
  };
}
