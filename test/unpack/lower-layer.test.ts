/** What a layer below says of a directory is the same whether its folder is asked or its index. */

import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { IndexBuilder } from '#src/index/index-builder.js';
import { LowerLayers } from '#src/unpack/lower-layer.js';
import { dir, file, symlink, tarOf } from '../index/support/tar-bytes.js';

const DIRECTORIES = ['x', 'x/y', 'x/b', 'b', 'd'] as const;
const LINKS = [
  ['into', 'x/y'],
  ['behind', 'into/../b'],
  ['missing', 'none/../b'],
  ['through', 'file/../b'],
  ['above', '../../b'],
  ['d/up', '../into/..'],
  ['d/absolute', '/into/.././b/'],
  ['round', 'round'],
  ['to-file', 'file'],
] as const;
const MODES = new Map<string, number>([
  ['x', 0o710],
  ['x/y', 0o720],
  ['x/b', 0o730],
  ['b', 0o740],
  ['d', 0o750],
]);

let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'siphon-lower-'));
  const folder = join(root, 'folder');
  for (const path of DIRECTORIES) {
    mkdirSync(join(folder, path), { recursive: true });
    chmodSync(join(folder, path), MODES.get(path) ?? 0);
  }
  writeFileSync(join(folder, 'file'), '');
  for (const [path, target] of LINKS) symlinkSync(target, join(folder, path));
  const builder = new IndexBuilder({ path: join(root, 'index') });
  builder.push(
    tarOf(
      ...DIRECTORIES.map((path) => dir(path, { mode: MODES.get(path) ?? 0 })),
      file('file'),
      ...LINKS.map(([path, target]) => symlink(path, target)),
    ),
  );
  builder.finish();
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

test.each([
  ['x', 0o710],
  ['into', 0o720],
  // As containerd has it, `..` goes up from the text of a link, but of one that is absolute.
  ['behind', 0o740],
  ['missing', 0o740],
  ['through', 0o740],
  ['above', 0o740],
  ['d/up', 0o755],
  ['d/up/b', 0o740],
  ['d/absolute', 0o730],
  ['round', undefined],
  ['to-file', undefined],
])('%s', (path, mode) => {
  using folder = new LowerLayers([join(root, 'folder')]);
  using index = new LowerLayers([{ index: join(root, 'index'), implied: undefined }]);
  expect(permissions(folder, path)).toBe(mode);
  expect(permissions(index, path)).toBe(mode);
});

function permissions(layers: LowerLayers, path: string): number | undefined {
  const found = layers.directory(path);
  return found && found.mode & 0o7777;
}
