/** Trees as deep as a layer can have them, and deeper ones that only an index can claim. */

import { copyFileSync, openSync, closeSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Sqlite } from '#src/common/sqlite.js';
import { compareLayers } from '#src/index/compare-layers.js';
import { IndexBuilder } from '#src/index/index-builder.js';
import { LayerIndex } from '#src/index/layer-index.js';
import { listTree } from '#src/layers/index-listing.js';
import { temporaryFolder } from './support/layers.js';
import { dir, file, tarOf } from './support/tar-bytes.js';

const DEPTH = 2000;
const deepest = Array.from({ length: DEPTH }, () => 'd').join('/');
const blob = tarOf(
  dir('d', { pax: { path: deepest } }),
  file('f', 'content', { pax: { path: `${deepest}/f` } }),
);

function builtIndex(): string {
  const path = join(temporaryFolder(), 'index');
  const builder = new IndexBuilder({ path });
  builder.push(blob);
  builder.finish();
  return path;
}

test('a tree of 2,000 folders in one another is listed', () => {
  const paths = [...listTree(builtIndex())].map(({ path }) => path);
  expect(paths).toHaveLength(DEPTH + 2);
  expect(paths).toContain(`${deepest}/f`);
});

test('a tree of 2,000 folders in one another is compared', () => {
  const path = builtIndex();
  const other = `${path}-other`;
  copyFileSync(path, other);
  const database = new Sqlite(other);
  database.exec('UPDATE inode SET size = 6 WHERE size = 7');
  database.close();
  const viewOf = (of: string) => {
    const index = LayerIndex.open(of);
    writeFileSync(`${of}-tar`, blob);
    const data = openSync(`${of}-tar`, 'r');
    onTestFinished(() => {
      index.close();
      closeSync(data);
    });
    return { index, data };
  };
  const truth = viewOf(path);
  const hidden = new Set<string>();
  expect(() => compareLayers(viewOf(path), truth, { hidden })).not.toThrow();
  expect(() => compareLayers(viewOf(other), truth, { hidden })).toThrow(
    `the size of "${deepest}/f" is not`,
  );
});

test('a folder that lists itself is listed as deep as a layer can be', () => {
  const path = builtIndex();
  const database = new Sqlite(path);
  // Folder 2 lists folder 3: so does folder 3 now.
  database.exec(`UPDATE listing SET entries = (SELECT entries FROM listing WHERE number = 2 << 20)
    WHERE number = 3 << 20`);
  database.exec('UPDATE layer SET entry_count = 100000');
  database.close();
  expect(() => [...listTree(path)]).toThrow(/it is more than 2048 folders deep/);
});
