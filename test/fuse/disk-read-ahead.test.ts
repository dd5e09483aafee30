import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DiskReadAhead } from '#src/fuse/disk-read-ahead.js';
import { LayerTable, type OpenLayer } from '#src/fuse/layer-table.js';
import { buildIndex } from '#src/index/build-index.js';
import { file, tarOf } from '../index/support/tar-bytes.js';

const KiB = 1024;
const tar = tarOf(file('a', 'x'.repeat(300 * KiB)), file('b', 'y'.repeat(300 * KiB)));
const begins = { a: 512, b: 2 * 512 + 300 * KiB };

describe('DiskReadAhead', () => {
  const folder = mkdtempSync(join(tmpdir(), 'siphon-ahead-'));
  const layers = new LayerTable();
  let layer: OpenLayer;
  let time: number;
  let reads: [file: number, from: number, length: number][];
  let ahead: DiskReadAhead;

  beforeAll(async () => {
    const indexPath = join(folder, 'index');
    const cachePath = join(folder, 'cache');
    // The second span begins at 350 KiB, within a block and within the second file.
    await buildIndex(Readable.from([tar]), { output: indexPath, spanSize: 350 * KiB });
    writeFileSync(cachePath, tar);
    layers.add({
      number: 1,
      indexPath,
      cachePath,
      presence: new SharedArrayBuffer(2),
      used: new SharedArrayBuffer(8),
    });
    const found = layers.get(1);
    if (found === undefined) throw new Error('the layer is not there');
    layer = found;
  });

  afterAll(() => {
    layers.close();
    rmSync(folder, { recursive: true });
  });

  beforeEach(() => {
    time = 1_000;
    reads = [];
    layer.indexDue = Infinity;
    layer.used.set([time - 59, time - 59]);
    ahead = new DiskReadAhead(
      layers,
      (...read) => reads.push(read),
      () => time * 1000,
    );
  });

  it('reads what lies around the begin of a file, as far as its span goes, where something was read before', () => {
    const bound = layer.index.spanBounds[1] ?? 0;
    expect([bound > begins.b, bound < 512 * KiB]).toEqual([true, true]);
    ahead.began(layer, [{ kind: 'data', tarOffset: begins.a, length: 4096 }]);
    expect(reads).toEqual([]);
    ahead.answered(1);
    ahead.answered(1);
    ahead.began(layer, [{ kind: 'data', tarOffset: begins.b, length: 4096 }]);
    ahead.answered(1);
    ahead.began(layer, [{ kind: 'data', tarOffset: bound, length: 4096 }]);
    ahead.answered(1);
    expect(reads).toEqual([
      [layer.cache, 0, 256 * KiB],
      [layer.cache, 256 * KiB, bound - 256 * KiB],
      [layer.cache, bound, 512 * KiB - bound],
    ]);
  });

  it('reads nothing around a file where nothing was read for long', () => {
    layer.used.set([time - 61, 0]);
    for (const tarOffset of [begins.a, 600 * KiB]) {
      ahead.began(layer, [{ kind: 'data', tarOffset, length: 4096 }]);
      ahead.answered(1);
    }
    expect(reads).toEqual([]);
  });

  it('reads nothing where a file is empty or begins with a hole', () => {
    ahead.began(layer, []);
    ahead.answered(1);
    ahead.began(layer, [{ kind: 'hole', length: 4096 }]);
    ahead.answered(1);
    expect(reads).toEqual([]);
  });

  it('reads the index of a layer in use, now and then', () => {
    const whole = [layer.indexFile, 0, statSync(join(folder, 'index')).size];
    layer.indexDue = 0;
    for (const at of [1000, 1000.01, 1000.2, 1000.26, 1000.3]) {
      time = at;
      ahead.answered(1);
      ahead.answered(2);
    }
    expect(reads).toEqual([whole, whole]);
  });
});
