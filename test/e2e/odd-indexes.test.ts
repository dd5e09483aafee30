/**
 * Index files in siphon's root, and layers beside them, that are not what they should be: what can be made again is
 * made again, with a line about it; all else is one clear sentence that names the layer, and leaves nothing half.
 */

import { execFileSync } from 'node:child_process';
import {
  appendFile,
  cp,
  mkdir,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { digestHex, digestOf } from '#src/common/digest.js';
import { Sqlite } from '#src/common/sqlite.js';
import { FORMAT_VERSION } from '#src/index/schema.js';
import { dir, file, tarOf } from '../index/support/tar-bytes.js';
import { LayoutBuilder } from '../support/oci-layout.js';
import { type Outcome, type Sandbox, openSandbox } from '../support/sandbox.js';

const TARS = [tarOf(dir('d'), file('d/f', 'x'.repeat(3000))), tarOf(file('top', 'x'))];
const LAYERS = TARS.map((tar) => gzipSync(tar));
const DIGESTS = LAYERS.map((layer) => digestOf(layer));
/** Where SQLite's header has the format's version (sqlite.org/fileformat.html, section 1.3). */
const versionAt = 60;

let sandbox: Sandbox;
/** What a fault is done to, and what it is a copy of. */
let [layout, rightLayout, rightRoot] = ['', '', ''];

beforeAll(async () => {
  sandbox = await openSandbox();
  [layout, rightLayout, rightRoot] = ['layout', 'right-layout', 'right-root'].map((name) =>
    join(sandbox.directory, name),
  ) as [string, string, string]; // as many as there are names
  await writeLayout(rightLayout);
  await cp(rightLayout, layout, { recursive: true });
  const built = await index('build');
  expect(built, built.stderr).toMatchObject({ code: 0 });
  await rename(sandbox.root, rightRoot);
});

afterAll(() => sandbox?.[Symbol.asyncDispose]());

beforeEach(async () => {
  for (const [from, to] of [
    [rightLayout, layout],
    [rightRoot, sandbox.root],
  ] as const) {
    await rm(to, { recursive: true, force: true });
    await cp(from, to, { recursive: true });
  }
});

async function writeLayout(path: string): Promise<void> {
  const builder = await LayoutBuilder.create(path);
  const type = 'application/vnd.oci.image.layer.v1.tar+gzip';
  const layers = await Promise.all(LAYERS.map((layer) => builder.blob(layer, type)));
  const config = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: TARS.map((tar) => digestOf(tar)) },
  };
  const configType = 'application/vnd.oci.image.config.v1+json';
  await builder.manifest(
    { config: await builder.blob(JSON.stringify(config), configType), layers },
    { tag: 'latest' },
  );
}

const index = (command: string, ...options: string[]): Promise<Outcome> =>
  sandbox.siphon('index', command, ...options, `oci:${layout}:latest`);
const indexPath = (n: number): string => join(sandbox.root, 'layers', String(n), 'index.db');
const blobPath = (n: number): string =>
  join(layout, 'blobs/sha256', digestHex(DIGESTS[n] ?? DIGESTS[0]!)); // there are two

/** One sentence on standard error, beside what tells of the way; nothing on standard output. */
function refused(outcome: Outcome, sentence: RegExp): void {
  const said = outcome.stderr
    .split('\n')
    .filter((line) => !/^sha256:[0-9a-f]{12} |^\{|^$/.test(line));
  expect(said.join('\n')).toMatch(sentence);
  expect(said.length).toBeLessThanOrEqual(2);
  expect(outcome).toMatchObject({ code: 1, stdout: '' });
}

/** Neither an index that is begun nor a blob that is. */
async function nothingHalf(): Promise<void> {
  for (const n of await readdir(join(sandbox.root, 'layers')))
    if (/^\d+$/.test(n))
      expect(['index.db', 'layer.json']).toEqual(
        expect.arrayContaining(await readdir(join(sandbox.root, 'layers', n))),
      );
  expect(await readdir(join(sandbox.root, 'content/ingest'))).toEqual([]);
}

describe('an index in the root', () => {
  it.each<[string, string, (path: string) => unknown]>([
    [
      'of an older format',
      `its format is 3, expected ${FORMAT_VERSION}`,
      (path) => ofVersion(path, 3),
    ],
    [
      'of a newer one',
      `its format is 99, expected ${FORMAT_VERSION}`,
      (path) => ofVersion(path, 99),
    ],
    ['that is empty', 'another kind of file', (path) => writeFile(path, '')],
    ['that is cut', 'bytes, expected', async (path) => truncate(path, (await stat(path)).size / 2)],
    ['that is text', 'another kind of file', (path) => writeFile(path, 'text '.repeat(100))],
    ['with a trigger', 'its tables are others', addTrigger],
    ['of another layer', 'expected', () => cp(indexPath(2), indexPath(1))],
    [
      'that is a folder',
      'no regular file',
      async (path) => {
        await rm(path);
        await mkdir(join(path, 'with-something'), { recursive: true });
      },
    ],
    [
      'that is a pipe',
      'no regular file',
      async (path) => {
        await rm(path);
        execFileSync('mkfifo', [path]);
      },
    ],
  ])('%s is dropped with a word, and made again', async (_, why, fault) => {
    await fault(indexPath(1));
    const outcome = await index('verify', '--json');
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    expect(outcome.stderr).toMatch(new RegExp(`${why}.*index dropped`));
    const { layers } = JSON.parse(outcome.stdout) as { layers: { info: object }[] };
    expect(layers.map(({ info }) => info)).toMatchObject(
      DIGESTS.map((blobDigest) => ({ blobDigest, formatVersion: FORMAT_VERSION })),
    );
  });

  it('that is none is not published', async () => {
    await ofVersion(indexPath(1), 3);
    refused(
      await index('push', '--json'),
      /^siphon: Cannot find index of layer "sha256:.*expected/,
    );
    await nothingHalf();
  });
});

describe('a layer', () => {
  it.each<[string, string, (path: string) => Promise<unknown>]>([
    ['that is missing', 'expected', (path) => rm(path)],
    ['that is cut', 'expected', async (path) => truncate(path, (await stat(path)).size - 10)],
    ['that goes on', 'expected', (path) => appendFile(path, 'more')],
    ['of other bytes', 'expected', flipByte],
  ])('%s is named', async (_, why, fault) => {
    await rm(sandbox.root, { recursive: true });
    await fault(blobPath(1));
    const sentence = new RegExp(`^siphon: Cannot .*${DIGESTS[1]}.*${why}`);
    refused(await index('build', '--json'), sentence);
    await nothingHalf();
  });

  it('that is not what its index says is named by verify', async () => {
    await flipByte(blobPath(0));
    refused(
      await index('verify', '--json'),
      new RegExp(`^siphon: Cannot .*${DIGESTS[0]}.*expected`),
    );
    await nothingHalf();
  });
});

describe('a source', () => {
  it('that is an index is told from a layer', async () => {
    const outcome = await sandbox.siphon('index', 'inspect', '--json', indexPath(1));
    refused(outcome, /^siphon: Cannot use .*it is an SQLite database, expected gzip, zstd or/);
    await nothingHalf();
  });

  it.each([
    ['no tag of the image', () => [`oci:${layout}:none`]],
    ['no platform of the image', () => ['--platform', 'linux/s390x', `oci:${layout}:latest`]],
    ['no layout', () => [`oci:${layout}/blobs:latest`]],
    ['a folder', () => [layout]],
  ])('that is %s', async (_, words) => {
    refused(
      await sandbox.siphon('index', 'inspect', '--json', ...words()),
      /^siphon: Cannot .*expected/,
    );
  });
});

async function ofVersion(path: string, version: number): Promise<void> {
  const bytes = await readFile(path);
  bytes.writeUInt32BE(version, versionAt);
  await writeFile(path, bytes);
}

function addTrigger(path: string): void {
  const database = new Sqlite(path);
  database.exec('CREATE TRIGGER one AFTER INSERT ON layer BEGIN SELECT 1; END');
  database.close();
}

async function flipByte(path: string): Promise<void> {
  const bytes = await readFile(path);
  const at = bytes.length - 20;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
}
