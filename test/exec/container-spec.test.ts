import { containerSpec } from '#src/exec/container-spec.js';
import { imageAnnotations } from '#src/exec/image-annotations.js';
import type { SpecInput } from '#src/exec/container-spec.js';
import type { RuntimeSpec } from '#src/exec/runtime-spec.js';
import type { GivenDevice } from '#src/exec/host-devices.js';
import { Ajv } from 'ajv';
import { expect, test } from 'vitest';
import { runtimeSpecSchema } from './runtime-spec-schema.js';

const validate = new Ajv({ allErrors: true }).compile(runtimeSpecSchema);

const base: SpecInput = {
  cgroup: 'siphon-c1',
  rootfs: '/rootfs',
  image: { Cmd: ['sh'] },
  overrides: {},
  user: { uid: 0, gid: 0, additionalGids: [0], home: '/root' },
  cgroupMode: 'legacy',
  hostMounts: [{ destination: '/etc/hosts', type: 'bind', source: '/etc/hosts', options: ['ro'] }],
  availableCapabilities: ['CAP_CHOWN', 'CAP_NET_ADMIN', 'CAP_SYS_ADMIN'],
  callerEnv: {},
};

const given: GivenDevice = {
  node: { path: '/dev/x', type: 'b', major: 8, minor: 1, fileMode: 0o660, uid: 0, gid: 6 },
  access: 'rm',
};
const capabilities = (spec: RuntimeSpec): string[] => spec.process.capabilities.effective;

const types = (spec: RuntimeSpec): string[] => spec.linux.namespaces.map(({ type }) => type);
const mountAt = (spec: RuntimeSpec, path: string) =>
  spec.mounts.filter(({ destination }) => destination === path);

const bind = { destination: '/dev/shm', type: 'bind', source: '/host', options: ['rbind'] };

/** Name, what differs from {@link base}, what of the spec is looked at, what it must be. */
const table: [string, Partial<SpecInput>, (spec: RuntimeSpec) => unknown, unknown][] = [
  ['root', {}, (s) => s.root, { path: '/rootfs', readonly: false }],
  ['readOnlyRoot', { overrides: { readOnlyRoot: true } }, (s) => s.root.readonly, true],
  ['cgroup', {}, (s) => s.linux.cgroupsPath, '/siphon-c1'],
  ['no cgroup of ours', { cgroup: undefined }, (s) => 'cgroupsPath' in s.linux, false],
  ['no limits', {}, (s) => Object.keys(s.linux.resources), ['devices']],
  ['memory', { overrides: { memory: 4096 } }, (s) => s.linux.resources.memory, { limit: 4096 }],
  [
    'cpus',
    { overrides: { cpus: 1.5 } },
    (s) => s.linux.resources.cpu,
    { quota: 150_000, period: 100_000 },
  ],
  [
    'cap-add',
    { overrides: { capAdd: ['net_admin'] } },
    (s) => capabilities(s).at(-1),
    'CAP_NET_ADMIN',
  ],
  ['cap-add twice', { overrides: { capAdd: ['CHOWN'] } }, (s) => capabilities(s).length, 14],
  [
    'cap-add ALL',
    { overrides: { capAdd: ['ALL'], capDrop: ['CHOWN'] } },
    capabilities,
    ['CAP_NET_ADMIN', 'CAP_SYS_ADMIN'],
  ],
  [
    'cap-drop',
    { overrides: { capDrop: ['CAP_KILL'] } },
    (s) => capabilities(s).includes('CAP_KILL'),
    false,
  ],
  [
    'cap-drop ALL',
    { overrides: { capDrop: ['all'], capAdd: ['KILL'] } },
    capabilities,
    ['CAP_KILL'],
  ],
  [
    'seccomp goes with capabilities',
    { overrides: { capAdd: ['SYS_BOOT'] } },
    (s) => s.linux.seccomp?.syscalls.some(({ names }) => names.includes('reboot')),
    true,
  ],
  [
    'privileged',
    { overrides: { privileged: true }, devices: [given] },
    (s) => [
      capabilities(s),
      s.linux.maskedPaths,
      s.linux.readonlyPaths,
      s.linux.seccomp,
      s.linux.resources.devices,
    ],
    [base.availableCapabilities, [], [], undefined, [{ allow: true, access: 'rwm' }]],
  ],
  [
    'privileged: /sys',
    { overrides: { privileged: true } },
    (s) => mountAt(s, '/sys')[0]?.options.at(-1),
    'rw',
  ],
  ['a device', { devices: [given] }, (s) => s.linux.devices, [given.node]],
  [
    'its rule',
    { devices: [given] },
    (s) => s.linux.resources.devices.at(-1),
    { allow: true, type: 'b', major: 8, minor: 1, access: 'rm' },
  ],
  [
    'rlimits',
    { overrides: { rlimits: [{ type: 'RLIMIT_CORE', soft: 0, hard: 1 }] } },
    (s) => s.process.rlimits.map(({ type }) => type),
    ['RLIMIT_NOFILE', 'RLIMIT_CORE'],
  ],
  [
    'open files given',
    { overrides: { rlimits: [{ type: 'RLIMIT_NOFILE', soft: 5, hard: 6 }] } },
    (s) => s.process.rlimits,
    [{ type: 'RLIMIT_NOFILE', soft: 5, hard: 6 }],
  ],
  ['no hostname', {}, (s) => 'hostname' in s, false],
  ['hostname', { overrides: { hostname: 'h' } }, (s) => s.hostname, 'h'],
  ['workdir default', {}, (s) => s.process.cwd, '/'],
  ['WorkingDir', { image: { Cmd: ['x'], WorkingDir: '/a/../b/' } }, (s) => s.process.cwd, '/b'],
  ['relative WorkingDir', { image: { Cmd: ['x'], WorkingDir: 'a' } }, (s) => s.process.cwd, '/a'],
  [
    'workdir',
    { image: { Cmd: ['x'], WorkingDir: '/a' }, overrides: { workdir: '/w' } },
    (s) => s.process.cwd,
    '/w',
  ],
  [
    'user',
    { user: { uid: 1, gid: 2, additionalGids: [2, 3], home: '/h' } },
    (s) => s.process.user,
    { uid: 1, gid: 2, additionalGids: [2, 3] },
  ],
  [
    'HOME',
    { user: { uid: 1, gid: 2, additionalGids: [], home: '/h' } },
    (s) => s.process.env.at(-1),
    'HOME=/h',
  ],
  ['no terminal', {}, (s) => s.process.terminal, false],
  ['terminal', { overrides: { terminal: true } }, (s) => s.process.terminal, true],
  [
    'terminal size',
    { overrides: { terminal: true }, terminalSize: [80, 24] },
    (s) => s.process.consoleSize,
    { height: 24, width: 80 },
  ],
  ['no terminal, no size', { terminalSize: [80, 24] }, (s) => 'consoleSize' in s.process, false],
  [
    'a terminal of unknown size',
    { overrides: { terminal: true }, terminalSize: [0, 0] },
    (s) => 'consoleSize' in s.process,
    false,
  ],
  ['open files', {}, (s) => s.process.rlimits, [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }]],
  ['host network', {}, types, ['pid', 'ipc', 'uts', 'mount']],
  [
    'no network',
    { overrides: { network: 'none' } },
    types,
    ['pid', 'ipc', 'uts', 'mount', 'network'],
  ],
  ['cgroup v2', { cgroupMode: 'unified' }, types, ['pid', 'ipc', 'uts', 'mount', 'cgroup']],
  ['host files', {}, (s) => mountAt(s, '/etc/hosts'), base.hostMounts],
  [
    'a mount of the caller',
    { overrides: { mounts: [bind] } },
    (s) => mountAt(s, '/dev/shm'),
    [bind],
  ],
  [
    'mounts within one another',
    {
      overrides: {
        mounts: [
          { ...bind, destination: '/etc/in/deep' },
          { ...bind, destination: '/etc' },
        ],
      },
      hostMounts: [{ ...bind, destination: '/etc/hosts' }],
    },
    (s) => s.mounts.map((m) => m.destination).filter((path) => path.startsWith('/etc')),
    ['/etc', '/etc/hosts', '/etc/in/deep'],
  ],
  [
    'annotations',
    { annotations: imageAnnotations({ config: { StopSignal: 'SIGQUIT' } }) },
    (s) => s.annotations,
    { 'org.opencontainers.image.stopSignal': 'SIGQUIT' },
  ],
  ['no annotations', {}, (s) => 'annotations' in s, false],
  ['seccomp off', { overrides: { seccomp: 'unconfined' } }, (s) => 'seccomp' in s.linux, false],
  ['seccomp on', {}, (s) => s.linux.seccomp?.defaultAction, 'SCMP_ACT_ERRNO'],
  ['devices', {}, (s) => s.linux.resources.devices[0], { allow: false, access: 'rwm' }],
];

test.each(table)('containerSpec: %s', (_, input, look, expected) => {
  const spec = containerSpec({ ...base, ...input });
  expect(look(spec)).toEqual(expected);
  expect(validate(JSON.parse(JSON.stringify(spec))), JSON.stringify(validate.errors)).toBe(true);
});

test('containerSpec gives every container values of its own', () => {
  const first = containerSpec(base);
  first.mounts[0]?.options.push('changed');
  first.linux.maskedPaths.push('/changed');
  first.process.capabilities.bounding.pop();
  const second = containerSpec(base);
  expect(JSON.stringify(second)).not.toContain('changed');
  expect(second.process.capabilities.bounding).toHaveLength(14);
});
