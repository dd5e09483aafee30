/**
 * Facts of the OCI runtime-spec 1.0.2 (config.md, config-linux.md) about the parts of config.json
 * that are generated here, as a JSON schema. Properties that the specification has but which are not
 * generated are left out, so that a misspelt one is found.
 */

const text = { type: 'string', minLength: 1 };
const texts = { type: 'array', items: text };
const absolutePath = { type: 'string', pattern: '^/' };
const id = { type: 'integer', minimum: 0, maximum: 2 ** 32 - 1 };
const capabilities = { type: 'array', items: { type: 'string', pattern: '^CAP_[A-Z_]+$' } };

function object(
  properties: Record<string, unknown>,
  required: string[] = Object.keys(properties),
): Record<string, unknown> {
  return { type: 'object', properties, required, additionalProperties: false };
}

const rlimit = object({
  type: { type: 'string', pattern: '^RLIMIT_[A-Z]+$' },
  hard: { type: 'integer', minimum: 0 },
  soft: { type: 'integer', minimum: 0 },
});

const processSection = object(
  {
    terminal: { type: 'boolean' },
    consoleSize: object({
      height: { type: 'integer', minimum: 1 },
      width: { type: 'integer', minimum: 1 },
    }),
    user: object({ uid: id, gid: id, additionalGids: { type: 'array', items: id } }),
    args: { type: 'array', items: { type: 'string' }, minItems: 1 },
    env: { type: 'array', items: { type: 'string', pattern: '^[^=]+=' } },
    cwd: absolutePath,
    capabilities: object(
      { bounding: capabilities, effective: capabilities, permitted: capabilities },
      [],
    ),
    rlimits: { type: 'array', items: rlimit },
    noNewPrivileges: { type: 'boolean' },
  },
  ['terminal', 'user', 'args', 'env', 'cwd', 'capabilities', 'rlimits', 'noNewPrivileges'],
);

const mount = object({ destination: absolutePath, type: text, source: text, options: texts });

const deviceRule = object(
  {
    allow: { type: 'boolean' },
    type: { enum: ['a', 'b', 'c', 'u', 'p'] },
    major: { type: 'integer' },
    minor: { type: 'integer' },
    access: { type: 'string', pattern: '^[rwm]{1,3}$' },
  },
  ['allow'],
);

const device = object({
  path: absolutePath,
  type: { enum: ['c', 'b'] },
  major: { type: 'integer', minimum: 0 },
  minor: { type: 'integer', minimum: 0 },
  fileMode: { type: 'integer', minimum: 0, maximum: 0o7777 },
  uid: id,
  gid: id,
});

const seccompArgument = object(
  {
    index: { type: 'integer', minimum: 0, maximum: 5 },
    value: { type: 'integer', minimum: 0 },
    valueTwo: { type: 'integer', minimum: 0 },
    op: { enum: ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'].map((op) => `SCMP_CMP_${op}`) },
  },
  ['index', 'value', 'op'],
);

const seccompRule = object(
  {
    names: { ...texts, minItems: 1 },
    action: {
      enum: ['KILL', 'TRAP', 'ERRNO', 'TRACE', 'ALLOW', 'LOG'].map((a) => `SCMP_ACT_${a}`),
    },
    errnoRet: { type: 'integer', minimum: 0 },
    args: { type: 'array', items: seccompArgument },
  },
  ['names', 'action'],
);

const linux = object(
  {
    resources: object(
      {
        devices: { type: 'array', items: deviceRule },
        memory: object({ limit: { type: 'integer', minimum: 1 } }),
        cpu: object({ quota: { type: 'integer' }, period: { type: 'integer', minimum: 1 } }),
      },
      [],
    ),
    devices: { type: 'array', items: device },
    cgroupsPath: absolutePath,
    namespaces: {
      type: 'array',
      items: object({
        type: { enum: ['mount', 'pid', 'network', 'uts', 'ipc', 'user', 'cgroup'] },
      }),
      uniqueItems: true,
    },
    maskedPaths: { type: 'array', items: absolutePath },
    readonlyPaths: { type: 'array', items: absolutePath },
    seccomp: object({
      defaultAction: { enum: ['SCMP_ACT_ERRNO'] },
      architectures: {
        type: 'array',
        items: { type: 'string', pattern: '^SCMP_ARCH_[A-Z0-9_]+$' },
      },
      syscalls: { type: 'array', items: seccompRule, minItems: 1 },
    }),
  },
  ['namespaces'],
);

export const runtimeSpecSchema = object(
  {
    ociVersion: { type: 'string', pattern: '^1\\.\\d+\\.\\d+$' },
    process: processSection,
    root: object({ path: text, readonly: { type: 'boolean' } }),
    hostname: text,
    mounts: { type: 'array', items: mount },
    annotations: { type: 'object', additionalProperties: { type: 'string' } },
    linux,
  },
  ['ociVersion', 'process', 'root', 'mounts', 'linux'],
);
