import { existsSync } from 'node:fs';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { writeContainerImage } from '../support/container-image.js';
import { writeSmallLayout } from '../support/demo-layout.js';
import { must, openSandbox } from '../support/sandbox.js';
import { readTree } from '../support/tree.js';
import { runtimeSpecSchema } from '../exec/runtime-spec-schema.js';
import { writeTrickyImage } from '../unpack/support/tricky-image.js';

const skip = process.getuid?.() !== 0;

describe.skipIf(skip)('siphon unpack: needs root', () => {
  it.each(['gzip', 'none'] as const)(
    'writes the same tree as umoci, layers stored as %s',
    async (compression) => {
      await using sandbox = await openSandbox();
      const { layout, source } = await writeSmallLayout(sandbox, compression);
      const bundle = join(sandbox.directory, 'bundle');
      await must('umoci', 'unpack', '--image', `${layout}:latest`, bundle);
      const target = join(sandbox.directory, 'rootfs');
      const { code, stdout, stderr } = await sandbox.siphon('unpack', source, target);
      expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: '' });
      expect(stderr).toContain(' ready ');
      expect(await readTree(target)).toEqual(await readTree(join(bundle, 'rootfs')));
    },
    60_000,
  );

  it('writes what a registry has, into a folder that is empty', async () => {
    await using sandbox = await openSandbox();
    const { layout, source, layers } = await writeTrickyImage(sandbox.directory);
    const target = await sandbox.folder('rootfs');
    const server = await serveLayout({ layout });
    try {
      const { code, stdout, stderr } = await sandbox.siphon(
        '--json',
        'unpack',
        `docker://${server.host}/tricky:latest`,
        target,
      );
      expect(code, stderr).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        target,
        layers: layers.map(({ diffId }) => ({ diffId })),
      });
    } finally {
      await server.close();
    }
    const other = join(sandbox.directory, 'again');
    expect(await sandbox.siphon('unpack', source, other)).toMatchObject({ code: 0 });
    expect(await readTree(target)).toEqual(await readTree(other));
    expect((await readTree(target))['.']).toMatchObject({ mode: '40755', mtime: '100000000000' });
  });

  it('makes a bundle that runc runs as it is, by the runtime-spec', async () => {
    await using sandbox = await openSandbox();
    const config = { Cmd: ['sh', '-c', 'echo "$A"; pwd; id -u'], Env: ['A=b'], User: 'ann' };
    const { source } = await writeContainerImage(sandbox.directory, {
      ...config,
      WorkingDir: '/home/ann',
    });
    const bundle = join(sandbox.directory, 'bundle');
    const { code, stderr } = await sandbox.siphon('unpack', '--bundle', source, bundle);
    expect(code, stderr).toBe(0);
    const validate = new Ajv({ allErrors: true }).compile(runtimeSpecSchema);
    const spec: unknown = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8'));
    expect(validate(spec), JSON.stringify(validate.errors)).toBe(true);
    const state = await sandbox.folder('state');
    const id = `bundle-${process.pid}`;
    expect(await must('runc', '--root', state, 'run', '--bundle', bundle, id)).toBe(
      'b\n/home/ann\n1000\n',
    );
  });

  it('refuses a folder that holds something', async () => {
    await using sandbox = await openSandbox();
    const { source } = await writeTrickyImage(sandbox.directory);
    const target = await sandbox.folder('rootfs');
    await writeFile(join(target, 'mine'), 'x');
    const { code, stderr } = await sandbox.siphon('unpack', source, target);
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('holds files'),
    });
    expect(await readdir(target)).toEqual(['mine']);
  });

  it('leaves nothing of an image that it cannot unpack whole', async () => {
    await using sandbox = await openSandbox();
    const { layout, source } = await writeTrickyImage(sandbox.directory);
    await damageLargestBlob(layout);
    const fresh = join(sandbox.directory, 'fresh');
    const empty = await sandbox.folder('empty');
    for (const target of [fresh, empty]) {
      const { code, stderr } = await sandbox.siphon('unpack', source, target);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^siphon: Cannot use layer "sha256:[0-9a-f]{64}" of /m);
    }
    expect(existsSync(fresh)).toBe(false);
    expect(await readdir(empty)).toEqual([]);
  });
});

/** Cuts nothing off: the size stays what the manifest says. */
async function damageLargestBlob(layout: string): Promise<void> {
  const folder = join(layout, 'blobs/sha256');
  const [name = ''] = (await must('ls', '-S', folder)).split('\n');
  const size = Number(await must('stat', '-c', '%s', join(folder, name)));
  await must(
    'dd',
    'if=/dev/zero',
    `of=${join(folder, name)}`,
    'bs=16',
    'count=1',
    `seek=${Math.floor(size / 32)}`,
    'conv=notrunc',
    'status=none',
  );
}
