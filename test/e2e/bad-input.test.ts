import { createHash } from 'node:crypto';
import { cp, open, readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestHex } from '#src/common/digest.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { type Outcome, type Sandbox, must, openSandbox, run } from '../support/sandbox.js';

let shared: Sandbox;
let image: DemoLayout;
let sandbox: Sandbox;
let directory: string;

beforeAll(async () => {
  shared = await openSandbox();
  image = await writeSmallLayout(shared);
  sandbox = await openSandbox();
  directory = await sandbox.folder('mnt');
}, 120_000);

afterAll(async () => {
  await sandbox[Symbol.asyncDispose]();
  await shared[Symbol.asyncDispose]();
});

/** One clear sentence (and perhaps a hint), exit code 1, nothing mounted, no server running. */
async function refused(outcome: Outcome, sentence: RegExp, code = 1): Promise<void> {
  const said = outcome.stderr.split('\n').filter((line) => !/^sha256:[0-9a-f]{12} /.test(line));
  expect(said[0]).toMatch(sentence);
  expect(outcome).toMatchObject({ code, stdout: '' });
  expect(outcome.stderr).not.toMatch(/^\s+at /m);
  expect(said.filter((line) => line !== '').length).toBeLessThanOrEqual(2);
  expect(await sandbox.mounts()).toEqual([]);
  expect(await readdir(join(sandbox.root, 'mounts')).catch(() => [])).toEqual([]);
}

const mount = (source: string, target = directory, ...options: string[]): Promise<Outcome> =>
  sandbox.siphon(...options, 'mount', source, target);

/** A copy of the image's layout that may be damaged. */
async function copyLayout(name: string): Promise<string> {
  const layout = join(shared.directory, name);
  await cp(image.layout, layout, { recursive: true });
  return layout;
}

const blobOf = (layout: string, n: number): string =>
  join(layout, 'blobs/sha256', digestHex(image.layers[n]!.digest)); // the image has three layers

async function damage(path: string): Promise<void> {
  await using file = await open(path, 'r+');
  await file.write(Buffer.from('XXXX'), 0, 4, 5_000_000);
}

describe('references and registries', () => {
  it.each(['docker://localhost/Upper', 'docker://', 'oci:', 'http://'])(
    '%s is wrong usage',
    async (source) => {
      await refused(await mount(source), /^siphon: Cannot read /, 2);
    },
  );

  it('an unknown repository or tag', async () => {
    const server = await serveLayout({ layout: image.layout, repository: 'demo' });
    const host = server.host;
    await refused(await mount(`docker://${host}/demo:nope`), /^siphon: Cannot .*demo:nope/);
    await refused(await mount(`docker://${host}/other:latest`), /^siphon: Cannot .*other:latest/);
    await server.close();
  });

  it('an unknown tag of a layout, and no layout at all', async () => {
    await refused(await mount(`oci:${image.layout}:nope`), /^siphon: Cannot .*nope/);
    await refused(
      await mount(`oci:${shared.directory}/nowhere:latest`),
      /^siphon: Cannot .*nowhere/,
    );
    await refused(await mount('/nowhere/layer.tar'), /^siphon: Cannot .*\/nowhere\/layer\.tar/);
  });

  it('a registry that is down', async () => {
    const server = await serveLayout({ layout: image.layout });
    await server.close();
    await refused(await mount(`docker://${server.host}/demo:latest`), new RegExp(server.host));
  });

  it('a registry that wants a password', async () => {
    const registry = await startDockerRegistry({ auth: 'basic' });
    const outcome = await mount(`docker://${registry.host}/demo:latest`);
    await registry.close();
    await refused(outcome, /^siphon: Cannot .*(unauthorized|credentials|401)/i);
  });

  it('an image for another platform', async () => {
    const outcome = await mount(image.source, directory, '--platform', 'linux/s390x');
    await refused(outcome, /^siphon: Cannot .*s390x/);
  });
});

describe('damaged bytes', () => {
  it('a truncated blob', async () => {
    const layout = await copyLayout('truncated');
    await truncate(blobOf(layout, 0), 1_000_000);
    await refused(await mount(`oci:${layout}:latest`), /^siphon: Cannot .*expected/);
  });

  it('a corrupt blob', async () => {
    const layout = await copyLayout('corrupt');
    await damage(blobOf(layout, 2));
    const layer = image.layers[2]!.digest; // the image has three layers
    await refused(await mount(`oci:${layout}:latest`), new RegExp(`^siphon: Cannot .*${layer}`));
  });

  it('a corrupt blob behind a registry, which nothing of is kept', async () => {
    const layout = await copyLayout('corrupt-remote');
    await damage(blobOf(layout, 2));
    const server = await serveLayout({ layout });
    const outcome = await mount(`docker://${server.host}/demo:latest`);
    await server.close();
    await refused(outcome, new RegExp(`^siphon: Cannot .*${image.layers[2]!.digest}`)); // as above
    const kept = await readdir(join(sandbox.root, 'content/blobs/sha256'));
    expect(kept).not.toContain(digestHex(image.layers[2]!.digest)); // the image has three layers
  });

  it('a tar that is cut in the middle', async () => {
    const whole = join(shared.directory, 'whole.tar');
    await must('sh', '-c', `gzip -dc ${blobOf(image.layout, 0)} > ${whole}`);
    const cut = join(shared.directory, 'cut.tar');
    await writeFile(cut, (await readFile(whole)).subarray(0, 700_000));
    await refused(await mount(cut), /^siphon: Cannot .*cut\.tar.*700000 in the middle/);
    await must('sh', '-c', `gzip -c ${cut} > ${cut}.gz`);
    await refused(await mount(`${cut}.gz`), /^siphon: Cannot .*cut\.tar\.gz.*700000 in the middle/);
  });

  it('bytes that are no layer', async () => {
    const path = join(shared.directory, 'noise.tar');
    await writeFile(path, Buffer.alloc(100_000, 'not a tar '));
    await refused(await mount(path), /^siphon: Cannot .*expected/);
  });
});

describe('mount points', () => {
  it('that is missing', async () => {
    await refused(await mount(image.source, join(directory, 'nowhere')), /does not exist/);
  });

  it('that is a file', async () => {
    const path = join(sandbox.directory, 'file');
    await writeFile(path, '');
    await refused(await mount(image.source, path), /is no folder/);
  });

  it('that is not empty', async () => {
    await refused(await mount(image.source, shared.directory), /is not empty/);
  });

  it('that is busy already, and stays as it is', async () => {
    const target = await sandbox.folder('busy');
    expect(await mount(image.source, target)).toMatchObject({ code: 0 });
    const again = await mount(image.source, target);
    expect(again).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/mounted there already/),
    });
    await using held = await open(join(target, 'etc/passwd'));
    const umount = await sandbox.siphon('umount', target);
    expect(umount).toMatchObject({ code: 1, stderr: expect.stringMatching(/is in use/) });
    expect(await held.readFile('utf8')).toContain('root');
    await held.close();
    expect(await sandbox.siphon('umount', target)).toMatchObject({ code: 0 });
    const nothing = await sandbox.siphon('umount', target);
    await refused(nothing, /no image is mounted there/);
  });
});

describe('the machine', () => {
  it('without root', async () => {
    const script = `import('${new URL('../../dist/cli/main.js', import.meta.url).pathname}')`;
    const code = `process.setuid(65534); ${script}.then((cli) => cli.main(process.argv))`;
    const args = ['-e', code, 'siphon', 'mount', '--driver', 'kernel', image.source, directory];
    await refused(
      await run(process.execPath, args),
      /^siphon: Cannot mount an image through the kernel driver: this needs root/,
    );
  });

  it('without /dev/fuse', async () => {
    const hide = 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"';
    const siphon = new URL('../../bin/siphon', import.meta.url).pathname;
    const command = [siphon, '--root', sandbox.root, 'mount', image.source, directory];
    const outcome = await run('unshare', [
      '--mount',
      'sh',
      '-c',
      hide,
      'sh',
      process.execPath,
      ...command,
    ]);
    await refused(outcome, /^siphon: Cannot .*\/dev\/fuse/);
  });
});

describe('wrong usage', () => {
  it.each([
    ['an unknown command', ['frobnicate']],
    ['an unknown option', ['mount', '--nope', 'a', 'b']],
    ['a missing argument', ['mount', 'oci:x']],
    ['a wrong log level', ['--log-level', 'loud', 'umount', '/x']],
    ['a configuration that is not there', ['serve', '--config', '/nowhere.toml']],
  ])('%s exits with 2', async (_, args) => {
    const outcome = await sandbox.siphon(...args);
    expect(outcome).toMatchObject({ code: 2, stdout: '' });
    expect(outcome.stderr).not.toBe('');
    expect(outcome.stderr).not.toMatch(/^\s+at /m);
  });
});

describe('an index that does not belong to the layer', () => {
  it('is refused with the layer named', async () => {
    const layout = await copyLayout('swapped');
    await using publisher = await openSandbox();
    const built = await publisher.siphon('index', 'build', '--push', `oci:${layout}:latest`);
    expect(built, built.stderr).toMatchObject({ code: 0 });
    await swapIndexes(layout);
    const server = await serveLayout({ layout });
    const target = await publisher.folder('mnt');
    await using fresh = await openSandbox();
    const outcome = await fresh.siphon('mount', `docker://${server.host}/demo:latest`, target);
    await server.close();
    await refused(outcome, /^siphon: Cannot .*sha256:.*expected/);
    expect(await publisher.mounts()).toEqual([]);
    expect(await fresh.mounts()).toEqual([]);
  });
});

interface LayoutIndex {
  manifests: { annotations?: Record<string, string> }[];
}

/** Makes the published artifact say of two layers' indexes that each is the other's. */
async function swapIndexes(layout: string): Promise<void> {
  const blobs = join(layout, 'blobs/sha256');
  for (const name of await readdir(blobs)) {
    const text = (await readFile(join(blobs, name))).toString('latin1');
    if (!text.includes('"artifactType"') || !text.includes('dev.siphon.layer.digest')) continue;
    const [first, second] = [image.layers[0]!.digest, image.layers[1]!.digest]; // there are three
    const swapped = text.replaceAll(first, '#').replaceAll(second, first).replaceAll('#', second);
    const hash = createHash('sha256').update(swapped, 'latin1').digest('hex');
    await writeFile(join(blobs, hash), swapped, 'latin1');
    const document = join(layout, 'index.json');
    const index = JSON.parse(
      (await readFile(document, 'utf8')).replaceAll(name, hash),
    ) as LayoutIndex; // written by siphon just before
    const isReferrersTag = (entry: LayoutIndex['manifests'][number]): boolean =>
      Object.values(entry.annotations ?? {}).some((value) => value.startsWith('sha256-'));
    const manifests = index.manifests.filter((entry) => !isReferrersTag(entry));
    await writeFile(document, JSON.stringify({ ...index, manifests }));
  }
}
