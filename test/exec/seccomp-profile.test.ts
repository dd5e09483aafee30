import { DEFAULT_CAPABILITIES } from '#src/exec/capabilities.js';
import { defaultSeccomp } from '#src/exec/seccomp-profile.js';
import { expect, test } from 'vitest';

function rulesFor(name: string, capabilities: readonly string[], architecture = 'x64') {
  return defaultSeccomp(capabilities, architecture).syscalls.filter((rule) =>
    rule.names.includes(name),
  );
}

const allowed = { action: 'SCMP_ACT_ALLOW' };

test.each([
  'read',
  'execve',
  'openat2',
  '_llseek',
  'futex_waitv',
  'ptrace',
  'chroot',
  'arch_prctl',
])('defaultSeccomp allows %s', (name) => {
  expect(rulesFor(name, DEFAULT_CAPABILITIES)).toMatchObject([allowed]);
  expect(rulesFor(name, DEFAULT_CAPABILITIES)[0]?.args).toBeUndefined();
});

test.each(['mount', 'unshare', 'bpf', 'keyctl', 'kexec_load', 'init_module', 'io_uring_setup'])(
  'defaultSeccomp does not allow %s',
  (name) => {
    expect(rulesFor(name, DEFAULT_CAPABILITIES)).toEqual([]);
  },
);

test.each([
  ['CAP_SYS_ADMIN', 'mount'],
  ['CAP_SYS_MODULE', 'init_module'],
  ['CAP_SYS_TIME', 'clock_settime'],
  ['CAP_BPF', 'bpf'],
])('defaultSeccomp with %s allows %s', (capability, name) => {
  expect(rulesFor(name, [capability])).toMatchObject([allowed]);
});

test('defaultSeccomp lets processes be cloned, but not into new namespaces', () => {
  const args = [{ index: 0, value: 0x7e020000, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }];
  expect(rulesFor('clone', [])).toMatchObject([{ ...allowed, args }]);
  expect(rulesFor('clone', [], 's390x')).toMatchObject([{ args: [{ index: 1 }] }]);
  expect(rulesFor('clone3', [])).toMatchObject([{ action: 'SCMP_ACT_ERRNO', errnoRet: 38 }]);
  expect(rulesFor('clone3', ['CAP_SYS_ADMIN'])).toMatchObject([allowed]);
});

test('defaultSeccomp keeps sockets to the hypervisor away', () => {
  const args = [{ index: 0, value: 40, op: 'SCMP_CMP_NE' }];
  expect(rulesFor('socket', [])).toMatchObject([{ ...allowed, args }]);
});

test.each([
  ['x64', ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32']],
  ['arm64', ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM']],
  ['unheard-of', []],
])('defaultSeccomp on %s', (architecture, expected) => {
  expect(defaultSeccomp([], architecture).architectures).toEqual(expected);
});

test('defaultSeccomp names no call twice in one list', () => {
  const names = defaultSeccomp([], 'x64').syscalls[0]?.names ?? [];
  expect(names.length).toBeGreaterThan(300);
  expect(new Set(names).size).toBe(names.length);
});
