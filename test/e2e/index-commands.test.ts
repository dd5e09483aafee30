/** `siphon index …` as its users see it: tables, JSON, exit codes. */

import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { type Digest, digestOf } from '#src/common/digest.js';
import { Sqlite } from '#src/common/sqlite.js';
import { ContentStore } from '#src/content/content-store.js';
import { openImage } from '#src/content/image.js';
import { publishIndexes } from '#src/content/index-artifact.js';
import { parseSource } from '#src/content/source.js';
import { dir, file, symlink, tarOf } from '../index/support/tar-bytes.js';
import { LayoutBuilder } from '../support/oci-layout.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';

const TAR = tarOf(
  dir('d', { mode: 0o2750, uid: 5, mtime: 1 }),
  file('d/f', 'x'.repeat(3000), { pax: { mtime: '-1.25', 'SCHILY.xattr.user.a': 'b' } }),
  symlink('l', 'd/f'),
);
const LAYERS = [gzipSync(TAR), tarOf(file('top', 'x'))];

let sandbox: Sandbox;
let source: string;

beforeEach(async () => {
  sandbox = await openSandbox();
  onTestFinished(() => sandbox[Symbol.asyncDispose]());
  const layout = join(sandbox.directory, 'layout');
  const builder = await LayoutBuilder.create(layout);
  const type = 'application/vnd.oci.image.layer.v1.tar';
  const layers = [
    await builder.blob(LAYERS[0] ?? '', `${type}+gzip`),
    await builder.blob(LAYERS[1] ?? '', type),
  ];
  const config = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [digestOf(TAR), digestOf(LAYERS[1] ?? Buffer.alloc(0))] },
  };
  const configType = 'application/vnd.oci.image.config.v1+json';
  await builder.manifest(
    { config: await builder.blob(JSON.stringify(config), configType), layers },
    { tag: 'latest' },
  );
  source = `oci:${layout}:latest`;
});

const index = (...args: string[]) => sandbox.siphon('index', ...args);

describe('siphon index', () => {
  it('build, push and build --push publish the same artifact', async () => {
    expect(await index('push', source)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /Cannot find index of layer "sha256:.*siphon index build/s,
      ) as string,
    });
    const built = await index('build', source);
    expect(built, built.stderr).toMatchObject({ code: 0 });
    expect(built.stdout).not.toContain('published');
    const pushed = await index('push', source);
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    expect(pushed.stdout).toMatch(/published sha256:[0-9a-f]{64}/);
    expect((await index('build', '--push', source)).stdout).toBe(pushed.stdout);
  });

  it('inspect shows sizes, tree, spans and format', async () => {
    const { stdout } = await index('inspect', '--tree', '--spans', source);
    expect(stdout).toMatch(/^LAYER +FORMAT +ENTRIES +SPANS +BLOB +TAR +INDEX\n/);
    expect(stdout).toContain(digestOf(LAYERS[0] ?? Buffer.alloc(0)));
    expect(stdout).toMatch(/^ 42750 5:0 +0 1\.000000000 d$/m);
    expect(stdout).toMatch(/^100644 0:0 +3000 -1\.250000000 d\/f$/m);
    expect(stdout).toMatch(/^120777 0:0 +3 0\.000000000 l -> d\/f$/m);
    expect(stdout).toMatch(/^SPAN +TAR OFFSET +BYTES +BLOB OFFSET +BYTES +SHA256$/m);
    const format = (await index('inspect', '--format', source)).stdout;
    expect(format).toMatch(
      /^LAYER +COMPRESSION +INDEX BY +WHY\n.* gzip +siphon +begins as gzip does; indexed from its own bytes\n.* none +siphon +begins as no compression does; indexed from its own bytes/,
    );
  });

  it('inspect --json gives it all as data', async () => {
    const { stdout } = await index('inspect', '--json', '--tree', '--spans', source);
    const { layers } = JSON.parse(stdout) as {
      layers: { info: object; size: number; tree: object[]; spans: object[] }[];
    };
    expect(layers[0]).toMatchObject({
      info: { compression: 'gzip', entryCount: 3, diffId: digestOf(TAR) },
      tree: [
        { path: '.' },
        { path: 'd', mode: 0o42750, uid: 5 },
        { path: 'd/f', size: 3000, mtime: '-1.250000000', xattrs: ['user.a'] },
        { path: 'l', target: 'd/f' },
      ],
      spans: [{ number: 0, tarOffset: 0, tarLength: TAR.length }],
    });
    expect(layers[1]).toMatchObject({ info: { compression: 'none' } });
  });

  it('verify takes what the layers give, and names what they do not', async () => {
    await index('build', source);
    const right = await index('verify', source);
    expect(right, right.stderr).toMatchObject({ code: 0 });
    const folder = join(sandbox.root, 'layers');
    for (const name of (await readdir(folder)).filter((one) => /^\d+$/.test(one))) {
      const database = new Sqlite(join(folder, name, 'index.db'));
      database.exec('UPDATE inode SET mode = mode | 2048 WHERE size = 3000');
      database.close();
    }
    const wrong = await index('verify', source);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(
      /Cannot verify layer "sha256:[0-9a-f]{64}" .*row 3 of its inode table is not what the layer gives/,
    );
    const byJson = await index('verify', '--json', source);
    expect(byJson).toMatchObject({ code: 1, stdout: '' });
  });

  it('passes over a published index of another version of the format, and says so', async () => {
    await index('build', source);
    const store = await ContentStore.open(sandbox.root);
    const { signal } = new AbortController();
    const image = await openImage(parseSource(source), { store, signal });
    onTestFinished(() => image.close());
    const paths = image.layers.map(({ descriptor }, n): [Digest, string] => {
      const path = join(sandbox.root, 'layers', String(n + 1), 'index.db');
      const database = new Sqlite(path);
      database.pragma('user_version = 99');
      database.close();
      return [descriptor.digest, path];
    });
    await publishIndexes(image, new Map(paths), signal);
    await using other = await openSandbox();
    const seen = await other.siphon('index', 'inspect', '--format', source);
    expect(seen, seen.stderr).toMatchObject({ code: 0 });
    expect(seen.stdout.match(/indexed from its own bytes/g)).toHaveLength(2);
    expect(seen.stderr).toMatch(/its format is 99, expected \d+.*published index refused/);
  });

  it('takes a tar as well, and says what is wrong with the words it gets', async () => {
    const tar = join(sandbox.directory, 'layer.tar.gz');
    await writeFile(tar, LAYERS[0] ?? '');
    expect(await index('verify', tar)).toMatchObject({ code: 0 });
    expect((await index('push', tar)).code).toBe(1);
    expect((await index('inspect')).code).toBe(2);
    expect((await index('nothing', tar)).code).toBe(2);
    expect((await index('inspect', join(sandbox.directory, 'none.tar'))).code).toBe(1);
  });
});
