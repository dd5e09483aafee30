/**
 * The default seccomp profile: an allow-list of system calls, everything else fails with EPERM.
 * Rules as containerd's default profile has them; the names are in seccomp-syscalls.ts.
 */

import { constants } from 'node:os';
import type { Seccomp, SeccompRule } from './runtime-spec.js';
import {
  ALLOWED_BY_ARCHITECTURE,
  ALLOWED_BY_CAPABILITY,
  ALWAYS_ALLOWED,
} from './seccomp-syscalls.js';

/** Sub-architectures whose calls are filtered alike, by Node's name for the machine's. */
const ARCHITECTURES: Readonly<Record<string, readonly string[]>> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
  s390x: ['SCMP_ARCH_S390X', 'SCMP_ARCH_S390'],
  riscv64: ['SCMP_ARCH_RISCV64'],
};

/** Execution domains of personality(2): Linux, the 32-bit ones, UNAME26, and a mere query. */
const PERSONALITIES = [0, 0x8, 0x20000, 0x20008, 0xffffffff];

/** Sockets to the hypervisor (AF_VSOCK of <sys/socket.h>), which know nothing of namespaces. */
const AF_VSOCK = 40;

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET of <linux/sched.h>. */
const CLONE_NAMESPACES =
  0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000;

/**
 * @param capabilities what the container's root keeps; some bring system calls with them
 * @param architecture as `process.arch`
 */
export function defaultSeccomp(
  capabilities: readonly string[],
  architecture: string = process.arch,
): Seccomp {
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    architectures: [...(ARCHITECTURES[architecture] ?? [])],
    syscalls: [
      allow(ALWAYS_ALLOWED),
      ...PERSONALITIES.map(allowPersonality),
      allowAnySocketBut(AF_VSOCK),
      // Since Linux 4.8 it cannot be used to get around a filter.
      allow(['ptrace']),
      ...allowMore(ALLOWED_BY_ARCHITECTURE[architecture]),
      ...capabilities.flatMap((name) => allowMore(ALLOWED_BY_CAPABILITY[name])),
      ...(capabilities.includes('CAP_SYS_ADMIN') ? [] : refuseNamespaces(architecture)),
    ],
  };
}

function allow(names: readonly string[]): SeccompRule {
  return { names: [...names], action: 'SCMP_ACT_ALLOW' };
}

function allowMore(names: readonly string[] | undefined): SeccompRule[] {
  return names === undefined ? [] : [allow(names)];
}

function allowPersonality(value: number): SeccompRule {
  return { ...allow(['personality']), args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }] };
}

function allowAnySocketBut(value: number): SeccompRule {
  return { ...allow(['socket']), args: [{ index: 0, value, op: 'SCMP_CMP_NE' }] };
}

/**
 * clone(2) without new namespaces. What clone3 is asked for lies in memory, where no filter sees it:
 * ENOSYS makes libc fall back to clone.
 */
function refuseNamespaces(architecture: string): SeccompRule[] {
  const index = architecture === 's390x' ? 1 : 0;
  return [
    {
      ...allow(['clone']),
      args: [{ index, value: CLONE_NAMESPACES, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    },
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: constants.errno.ENOSYS },
  ];
}
