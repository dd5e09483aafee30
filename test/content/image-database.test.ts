import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import { processIdentity } from '#src/common/process.js';
import { Sqlite } from '#src/common/sqlite.js';
import { ContentStore } from '#src/content/content-store.js';
import { ImageDatabase } from '#src/content/image-database.js';
import { walkBlobs } from '#src/content/walk-blobs.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';

const target = { mediaType: 'application/x', digest: digestOf('x'), size: 1 };

let folder: TemporaryFolder;
let images: ImageDatabase;
beforeEach(async () => {
  folder = await temporaryFolder();
  images = ImageDatabase.open(folder.path);
});
afterEach(async () => {
  images[Symbol.dispose]();
  await folder[Symbol.asyncDispose]();
});

describe('ImageDatabase', () => {
  test('records, changes and removes names', () => {
    images.put({ name: 'b', target, isGiven: true });
    images.put({ name: 'a', target, origin: 'o', plainHttp: false, isGiven: false });
    images.put({ name: 'b', target: { ...target, size: 2 }, isGiven: false });
    expect(images.list()).toMatchObject([
      { name: 'a', target, origin: 'o', plainHttp: false, isGiven: false },
      { name: 'b', target: { size: 2 }, isGiven: false },
    ]);
    expect(images.find('b')).not.toHaveProperty('origin');
    expect([images.remove('b'), images.remove('b')]).toEqual([true, false]);
    expect(() => images.get('b')).toThrow('Cannot find image "b"');
  });

  test('knows the leases of living processes only', async () => {
    const child = spawn('sleep', ['60']);
    const gone = await processIdentity(child.pid ?? 0);
    child.kill('SIGKILL');
    await once(child, 'close');
    using raw = disposable(new Sqlite(join(folder.path, 'images.db')));
    raw
      .prepare('INSERT INTO lease (pid, start_time, created) VALUES (?, ?, 0)')
      .run(gone.pid, gone.startTime);
    const lease = await images.lease();
    lease.add([target, target]);
    const own = { pid: process.pid, settled: false, resources: [target] };
    expect(await images.liveLeases()).toMatchObject([own]);
    lease.settle();
    expect(await images.liveLeases()).toMatchObject([{ ...own, settled: true }]);
    lease.end();
    expect(await images.liveLeases()).toEqual([]);
    expect(raw.prepare('SELECT count(*) AS n FROM lease').get()).toEqual({ n: 0 });
  });

  test('lets no lease begin while somebody has it exclusively', async () => {
    using other = disposable(new Sqlite(join(folder.path, 'images.db'), { timeout: 0 }));
    await images.exclusively(async () => {
      expect(() =>
        other.exec("INSERT INTO lease (pid, start_time, created) VALUES (1, '', 0)"),
      ).toThrow('locked');
    });
    await expect(images.exclusively(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    images.put({ name: 'a', target, isGiven: true });
  });

  test('labels blobs, which are walked by them', async () => {
    const store = await ContentStore.open(folder.path);
    const [a, b] = [await store.put(Buffer.from('a')), await store.put(Buffer.from('bb'))];
    images.label(a, { 'containerd.io/gc.root': 'now', k: 'v' });
    images.label(a, { k: '' });
    expect(images.labelsOf(a)).toEqual({ 'containerd.io/gc.root': 'now' });
    const walk = async (...filters: string[]): Promise<string[]> => {
      const found = [];
      for await (const { digest } of walkBlobs(store, images, filters)) found.push(digest);
      return found.toSorted();
    };
    expect(await walk()).toEqual([a, b].toSorted());
    expect(await walk('labels."containerd.io/gc.root"')).toEqual([a]);
    expect(await walk('size==2', `digest==${a}`)).toEqual([a, b].toSorted());
    expect(await walk('size==2,labels.k')).toEqual([]);
    await expect(walk('size=2')).rejects.toMatchObject({ code: 'invalid' });
    images.dropLabels(a);
    expect(images.labelsOf(a)).toEqual({});
  });

  test('refuses what a newer siphon wrote', () => {
    using raw = disposable(new Sqlite(join(folder.path, 'images.db')));
    raw.pragma('user_version = 99');
    expect(() => ImageDatabase.open(folder.path)).toThrow(/it has version 99, expected at most 1/);
  });
});

type Raw = InstanceType<typeof Sqlite> & Disposable;

function disposable(database: InstanceType<typeof Sqlite>): Raw {
  return Object.assign(database, { [Symbol.dispose]: () => void database.close() });
}
