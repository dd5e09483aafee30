/**
 * Every field of an image's configuration (OCI image-spec 1.1, config.md, and what Docker writes besides),
 * seen from inside the process that is run.
 */

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentLogger } from '#src/common/log.js';
import { parseImageConfig } from '#src/content/image-config.js';
import { runContainer } from '#src/exec/run-container.js';
import type { ContainerOverrides } from '#src/exec/run-options.js';
import { makeRootfs } from '../support/rootfs.js';
import { tool } from '../support/tools.js';

/** Properties of `config`, in the order of the specification. */
const PROCESS_FIELDS = `User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir Labels StopSignal
  ArgsEscaped Memory MemorySwap CpuShares Healthcheck`.split(/\s+/);
/** Beside `config`, which every row has; `rootfs` is what makes the layers. */
const IMAGE_FIELDS = 'created author architecture os os.version os.features variant history'.split(
  ' ',
);
const DOCKER_FIELDS = 'Shell OnBuild Hostname Domainname Tty OpenStdin AttachStdout Image'.split(
  ' ',
);

interface Row {
  config?: Record<string, unknown>;
  image?: Record<string, unknown>;
  given?: ContainerOverrides;
}

const script = (line: string): Pick<Row, 'given'> => ({ given: { args: ['sh', '-c', line] } });
const ids = script('id -u; id -G; echo $HOME');

/** What is looked at, the configuration, what the process prints. */
const table: [string, Row, string][] = [
  ['no User', ids, '0\n0\n/root\n'],
  ['User: a name', { config: { User: 'ann' }, ...ids }, '1000\n1001 29\n/home/ann\n'],
  ['User: an id', { config: { User: '1000' }, ...ids }, '1000\n1001 29\n/home/ann\n'],
  ['User: an id without an account', { config: { User: '4242' }, ...ids }, '4242\n0\n/\n'],
  ['User: name and group', { config: { User: 'ann:staff' }, ...ids }, '1000\n50\n/home/ann\n'],
  ['User: name and group id', { config: { User: 'ann:60' }, ...ids }, '1000\n60\n/home/ann\n'],
  ['User: id and group', { config: { User: '1000:staff' }, ...ids }, '1000\n50\n/home/ann\n'],
  ['User: two ids', { config: { User: '12:34' }, ...ids }, '12\n34\n/\n'],
  [
    'Env',
    {
      config: { Env: ['A=b c=d', 'EMPTY=', 'PATH=/usr/bin'] },
      ...script('echo "$A|$EMPTY|$PATH"'),
    },
    'b c=d||/usr/bin\n',
  ],
  ['Cmd', { config: { Cmd: ['sh', '-c', 'echo "$0 $1"', 'a b', '$HOME'] } }, 'a b $HOME\n'],
  ['Entrypoint and Cmd', { config: { Entrypoint: ['sh', '-c'], Cmd: ['echo cmd'] } }, 'cmd\n'],
  [
    'Entrypoint and given arguments',
    { config: { Entrypoint: ['sh', '-c'], Cmd: ['echo cmd'] }, given: { args: ['echo given'] } },
    'given\n',
  ],
  [
    'a given entrypoint',
    { config: { Entrypoint: ['no-such'], Cmd: ['no-such'] }, given: { entrypoint: ['id'] } },
    'uid=0(root) gid=0(root) groups=0(root)\n',
  ],
  ['WorkingDir', { config: { WorkingDir: '/made/for it' }, ...script('pwd') }, '/made/for it\n'],
  [
    'Volumes',
    {
      config: { Volumes: { '/data/one': {}, '/kept': {} } },
      ...script('echo x >/data/one/x && cat /data/one/x /kept/file'),
    },
    'x\nof the image\n',
  ],
  [
    'Volumes below a read-only root',
    {
      config: { Volumes: { '/data/two': {}, '/link': {} } },
      given: {
        readOnlyRoot: true,
        args: [
          'sh',
          '-c',
          'echo x >/data/two/x && cat /data/two/x /link/file; echo x 2>/dev/null >/data/x || echo no',
        ],
      },
    },
    'x\nof the image\nno\n',
  ],
  [
    'what only describes',
    {
      config: { Labels: { a: 'b', 'run.oci.handler': 'none' }, ExposedPorts: { '80/tcp': {} } },
      image: {
        created: '2020-01-01T00:00:00Z',
        author: 'ann',
        architecture: 'amd64',
        variant: 'v2',
        os: 'linux',
        'os.version': '1',
        'os.features': ['x'],
        history: [{ created_by: 'x', empty_layer: true }],
      },
      given: { args: ['env'] },
    },
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root\n',
  ],
  ['StopSignal', { config: { StopSignal: 'SIGQUIT' }, ...script('echo up') }, 'up\n'],
  [
    'what has no meaning at run time',
    {
      config: {
        ArgsEscaped: true,
        Memory: 1,
        MemorySwap: 1,
        CpuShares: 1,
        Healthcheck: { Test: ['CMD', 'false'] },
        Shell: ['no-such'],
        OnBuild: ['RUN false'],
        Hostname: 'no',
        Domainname: 'no',
        Tty: true,
        OpenStdin: true,
        AttachStdout: false,
        Image: 'sha256:no',
      },
      ...script('echo as ever'),
    },
    'as ever\n',
  ],
];

const skip = process.geteuid?.() !== 0;
let top: string;

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'siphon-config-'));
  const programs = ['sh', 'cat', 'id', 'env'].map((name) => tool('which', name));
  const paths = (await Promise.all(programs)).map((path) => path.trim());
  await makeRootfs(join(top, 'rootfs'), paths, {
    '/etc/passwd': 'root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n',
    '/etc/group': 'root:x:0:\nann:x:1001:\naudio:x:29:ann\nstaff:x:50:\n',
    '/kept/file': 'of the image\n',
  });
  await tool('ln', '-s', '/kept', join(top, 'rootfs/link'));
});

afterAll(() => rm(top, { recursive: true, force: true }));

let count = 0;

/** What the process prints, and the bundle that it was run by. */
async function runImage({ config = {}, image = {}, given = {} }: Row): Promise<[string, object]> {
  const document = { architecture: 'amd64', os: 'linux', rootfs: {}, ...image, config };
  const id = `config-${process.pid}-${count++}`;
  const directory = join(top, id);
  const stdout = new PassThrough();
  const printed = text(stdout);
  let bundle: object = {};
  try {
    await runContainer({
      id,
      directory,
      rootfs: join(top, 'rootfs'),
      config: parseImageConfig(Buffer.from(JSON.stringify(document)), 'image'),
      ...given,
      stdio: { stdin: 'ignore', stdout, stderr: 'ignore' },
      onStart: async () => {
        bundle = JSON.parse(await readFile(join(directory, 'config.json'), 'utf8')) as object;
      },
      signal: new AbortController().signal,
      log: silentLogger,
    });
  } finally {
    stdout.end();
  }
  return [await printed, bundle];
}

describe.skipIf(skip)('an image config (needs root)', () => {
  test.each(table)('%s', async (_, row, expected) => {
    const [printed] = await runImage(row);
    expect(printed).toBe(expected);
  });

  test.each([
    ['nobody-there', /\/etc\/passwd does not name it/],
    ['ann:nobodies', /\/etc\/group does not name it/],
    ['4294967296', /the number is too large/],
  ])('User: %s is refused', async (User, message) => {
    await expect(runImage({ config: { User }, ...ids })).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringMatching(message) as unknown,
    });
  });

  test('says of the image what the runtime-spec has annotations for, and gives no orders', async () => {
    const image = { created: '2020-01-01T00:00:00Z', author: 'ann', variant: 'v2' };
    const config = {
      StopSignal: 'SIGQUIT',
      ExposedPorts: { '80/tcp': {}, '53/udp': {} },
      Labels: { 'run.oci.handler': 'krun' },
    };
    const [, bundle] = await runImage({ config, image, ...script('read x; :') });
    const expected = {
      os: 'linux',
      architecture: 'amd64',
      ...image,
      stopSignal: 'SIGQUIT',
      exposedPorts: '80/tcp,53/udp',
    };
    expect(bundle).toMatchObject({
      annotations: Object.fromEntries(
        Object.entries(expected).map(([name, value]) => [
          `org.opencontainers.image.${name}`,
          value,
        ]),
      ),
    });
    expect(JSON.stringify(bundle)).not.toContain('krun');
  });
});

test('the table has every field', () => {
  const fields = (part: 'config' | 'image'): Set<string> =>
    new Set(table.flatMap(([, row]) => Object.keys(row[part] ?? {})));
  const [config, image] = [fields('config'), fields('image')];
  expect([...PROCESS_FIELDS, ...DOCKER_FIELDS].filter((name) => !config.has(name))).toEqual([]);
  expect(IMAGE_FIELDS.filter((name) => !image.has(name))).toEqual([]);
});
