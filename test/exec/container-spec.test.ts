import { containerSpec } from '#src/exec/container-spec.js';
import type { SpecInput } from '#src/exec/container-spec.js';
import type { RuntimeSpec } from '#src/exec/runtime-spec.js';
import { Ajv } from 'ajv';
import { expect, test } from 'vitest';
import { runtimeSpecSchema } from './runtime-spec-schema.js';

const validate = new Ajv({ allErrors: true }).compile(runtimeSpecSchema);

const base: SpecInput = {
  id: 'c1',
  rootfs: '/rootfs',
  image: { Cmd: ['sh'] },
  overrides: {},
  user: { uid: 0, gid: 0, additionalGids: [0], home: '/root' },
  cgroupMode: 'legacy',
  hostMounts: [{ destination: '/etc/hosts', type: 'bind', source: '/etc/hosts', options: ['ro'] }],
  callerEnv: {},
};

const types = (spec: RuntimeSpec): string[] => spec.linux.namespaces.map(({ type }) => type);
const mountAt = (spec: RuntimeSpec, path: string) =>
  spec.mounts.filter(({ destination }) => destination === path);

const bind = { destination: '/dev/shm', type: 'bind', source: '/host', options: ['rbind'] };

/** Name, what differs from {@link base}, what of the spec is looked at, what it must be. */
const table: [string, Partial<SpecInput>, (spec: RuntimeSpec) => unknown, unknown][] = [
  ['root', {}, (s) => s.root, { path: '/rootfs', readonly: false }],
  ['readOnlyRoot', { overrides: { readOnlyRoot: true } }, (s) => s.root.readonly, true],
  ['cgroup', {}, (s) => s.linux.cgroupsPath, '/siphon-c1'],
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
    'StopSignal',
    { image: { Cmd: ['x'], StopSignal: 'SIGQUIT' } },
    (s) => s.annotations,
    { 'org.opencontainers.image.stopSignal': 'SIGQUIT' },
  ],
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
