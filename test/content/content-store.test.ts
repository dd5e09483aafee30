import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, readdir, rename, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { digestOf } from '#src/common/digest.js';
import { ContentStore } from '#src/content/content-store.js';
import { noise } from '../support/images.js';
import { cuttableFileSystem } from '../support/power-cut.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';

const holdIngest = fileURLToPath(new URL('../support/hold-ingest.mjs', import.meta.url));
const { signal } = new AbortController();
const bytes = noise(100_000);
const blob = { digest: digestOf(bytes), size: bytes.length };

let folder: TemporaryFolder;
let store: ContentStore;
beforeEach(async () => {
  folder = await temporaryFolder();
  store = await ContentStore.open(folder.path);
});
afterEach(() => folder[Symbol.asyncDispose]());

async function* chunks(...parts: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

/** Gives what there is from an offset on; breaks after `limit` bytes. */
function source(limit = Infinity): {
  offsets: number[];
  from: (offset: number) => AsyncIterable<Uint8Array>;
} {
  const offsets: number[] = [];
  async function* from(offset: number): AsyncGenerator<Uint8Array> {
    offsets.push(offset);
    for (let at = offset; at < bytes.length; at += 10_000) {
      if (at - offset >= limit) throw new Error('connection lost');
      yield bytes.subarray(at, at + 10_000);
    }
  }
  return { offsets, from };
}

function ingests(): Promise<string[]> {
  return readdir(join(folder.path, 'content/ingest'));
}

describe('ContentStore', () => {
  test('keeps a blob that is what it is said to be', async () => {
    const progress: number[] = [];
    await store.ingest(blob, () => chunks(bytes.subarray(0, 7), bytes.subarray(7)), {
      signal,
      onProgress: (done) => progress.push(done),
    });
    expect(progress).toEqual([7, bytes.length]);
    expect(digestOf(await store.read(blob.digest))).toBe(blob.digest);
    expect(digestOf(await readFile(store.path(blob.digest)))).toBe(blob.digest);
    await using reader = disposable(await store.source(blob));
    expect(await reader.read(99_990, 10, signal)).toEqual(bytes.subarray(99_990));
    expect(await ingests()).toEqual([]);
    const listed = [];
    for await (const one of store.list()) listed.push(one);
    expect(listed).toEqual([{ ...blob, written: expect.any(Number) }]);
  });

  test.each([
    ['other bytes', [Buffer.alloc(bytes.length)], /its bytes have digest sha256:/, 0],
    ['too few', [bytes.subarray(1)], /ended after 99999 bytes, expected 100000/, 1],
    ['too many', [bytes, Buffer.alloc(1)], /it goes on, expected 100000 bytes/, 0],
  ])('refuses %s, and keeps what may be right', async (_, parts, message, kept) => {
    const ingest = store.ingest(blob, () => chunks(...parts), { signal });
    await expect(ingest).rejects.toMatchObject({ code: 'corrupt', message });
    expect(await store.has(blob.digest)).toBe(false);
    expect(await store.ingests()).toHaveLength(kept);
    await store.abandonIngests(() => false);
    expect(await ingests()).toEqual([]);
  });

  test('goes on where an interrupted ingest stopped', async () => {
    await expect(store.ingest(blob, source(30_000).from, { signal })).rejects.toThrow(
      'connection lost',
    );
    const { from, offsets } = source();
    await (await ContentStore.open(folder.path)).ingest(blob, from, { signal });
    expect(offsets).toEqual([30_000]);
    expect(await store.has(blob.digest)).toBe(true);
    expect(await ingests()).toEqual([]);
  });

  test('goes on with what a process that was killed left', async () => {
    const left = join(folder.path, 'content/ingest', blob.digest.slice(7));
    await writeFile(left, bytes.subarray(0, 500));
    const { from, offsets } = source();
    await store.ingest(blob, from, { signal });
    expect(offsets).toEqual([500]);
    expect(await ingests()).toEqual([]);
  });

  test('waits for the process that is bringing the blob, and takes what that has brought', async () => {
    await using child = await startWriter();
    const { from, offsets } = source();
    const waiting = store.ingest(blob, from, { signal });
    expect((await store.ingestStatus(blob.digest))?.ref).toBe(blob.digest);
    await expect(store.abort(blob.digest)).rejects.toMatchObject({ code: 'busy' });
    await expect(store.write(blob.digest)).rejects.toMatchObject({ code: 'busy' });
    child.finish();
    expect(await waiting).toBe(false);
    expect(offsets).toEqual([]);
    expect(digestOf(await store.read(blob.digest))).toBe(blob.digest);
    expect(await ingests()).toEqual([]);
  });

  test('goes on where the process that was bringing the blob is killed', async () => {
    await using child = await startWriter();
    const { from, offsets } = source();
    const waiting = store.ingest(blob, from, { signal });
    await child.kill();
    expect(await waiting).toBe(true);
    expect(offsets).toEqual([10]);
  });

  test('gives up waiting when cancelled', async () => {
    await using _ = await startWriter();
    const abort = new AbortController();
    const waiting = store.ingest(blob, source().from, { signal: abort.signal });
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
  });

  test('starts anew where what was left is damaged', async () => {
    const left = join(folder.path, 'content/ingest', blob.digest.slice(7));
    await writeFile(left, Buffer.alloc(20_000));
    const { from, offsets } = source();
    await store.ingest(blob, from, { signal });
    expect(offsets).toEqual([20_000, 0]);
    expect(await store.has(blob.digest)).toBe(true);
  });

  test('hands on every byte in order, also those of an earlier attempt', async () => {
    await expect(store.ingest(blob, source(30_000).from, { signal })).rejects.toThrow();
    const seen: Uint8Array[] = [];
    await store.ingest(blob, source().from, {
      signal,
      onBytes: async (piece) => void seen.push(Buffer.from(piece)),
    });
    expect(Buffer.concat(seen)).toEqual(bytes);
  });

  test('shares the work of two resumable ingests of one digest', async () => {
    const { from, offsets } = source();
    await Promise.all([store.ingest(blob, from, { signal }), store.ingest(blob, from, { signal })]);
    await store.ingest(blob, from, { signal });
    expect(offsets).toEqual([0]);
  });

  test('stops when cancelled', async () => {
    const abort = new AbortController();
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) {
        yield Buffer.alloc(10);
        abort.abort();
      }
    }
    await expect(store.add(endless(), abort)).rejects.toMatchObject({ code: 'cancelled' });
    expect(await ingests()).toEqual([]);
  });

  test('notices damage, and removes what is damaged', async () => {
    const digest = await store.put(Buffer.from('hello'));
    await writeFile(store.path(digest), 'hallo');
    await expect(store.read(digest)).rejects.toMatchObject({ code: 'corrupt' });
    await expect(store.read(digest)).rejects.toMatchObject({ code: 'not-found' });
    await store.put(bytes);
    await truncate(store.path(blob.digest), 5);
    await expect(store.source(blob)).rejects.toThrow(/has 5 bytes, expected 100000/);
  });

  test('adds bytes whose digest nobody knew, and deletes', async () => {
    expect(await store.add(chunks(bytes), { signal })).toEqual(blob);
    await store.delete(blob.digest);
    expect(await store.has(blob.digest)).toBe(false);
  });

  test('remembers facts, and forgets those that changed shape', async () => {
    await store.memo.remember('tag a', { digest: blob.digest });
    const again = (await ContentStore.open(folder.path)).memo;
    expect(await again.recall('tag a', z.object({ digest: z.string() }))).toEqual({
      digest: blob.digest,
    });
    expect(await again.recall('tag a', z.string())).toBeUndefined();
    expect(await again.recall('tag b', z.string())).toBeUndefined();
  });

  test('forgets facts about blobs and files that are gone', async () => {
    const file = join(folder.path, 'file');
    await writeFile(file, 'x');
    await store.put(bytes);
    const facts = {
      'tag here': { digest: blob.digest },
      'tag gone': { digest: digestOf('gone') },
      [`digest ${JSON.stringify([file, '1'])} 0 1`]: digestOf('x'),
      [`digest ${JSON.stringify([`${file}-gone`, '1'])} 0 1`]: digestOf('y'),
    };
    for (const [key, value] of Object.entries(facts)) await store.memo.remember(key, value);
    await store.tidy(Infinity);
    const left = await Promise.all(
      Object.keys(facts).map(async (key) => (await store.memo.recall(key, z.any())) !== undefined),
    );
    expect(left).toEqual([true, false, true, false]);
  });

  test('writes by reference: status, going on, commit, abort', async () => {
    const writer = await store.write('layer-1', { digest: blob.digest, total: blob.size });
    await writer.append(chunks(bytes.subarray(0, 100)), signal);
    expect(await writer.status()).toEqual({
      ref: 'layer-1',
      offset: 100,
      total: blob.size,
      expected: blob.digest,
      started: expect.any(Number),
      updated: expect.any(Number),
    });
    await expect(writer.commit()).rejects.toMatchObject({ code: 'corrupt' });
    await writer.close();
    const other = await ContentStore.open(folder.path);
    expect(await other.ingests()).toMatchObject([{ ref: 'layer-1', offset: 100 }]);
    for (const expected of [{ digest: digestOf('another') }, { total: 1 }])
      await expect(other.write('layer-1', expected)).rejects.toMatchObject({
        code: 'failed-precondition',
      });
    const again = await other.write('layer-1');
    await expect(again.append(chunks(bytes), signal)).rejects.toThrow(/expected 100000 bytes/);
    await again.restart();
    await again.append(chunks(bytes), signal);
    expect(await again.commit({ size: blob.size })).toEqual(blob);
    expect(await other.ingests()).toEqual([]);
    await expect(store.write('layer-2', { digest: blob.digest })).rejects.toMatchObject({
      code: 'already-exists',
    });
    const third = await store.write('layer-3');
    await third.append(chunks(bytes), signal);
    await expect(third.commit()).rejects.toMatchObject({ code: 'already-exists' });
    await (await store.write('layer-4')).close();
    await store.abort('layer-4');
    await expect(store.abort('layer-4')).rejects.toMatchObject({ code: 'not-found' });
    expect(await ingests()).toEqual([]);
  });

  test('opens beside folders that are there', async () => {
    await mkdir(join(folder.path, 'other'));
    await rename(join(folder.path, 'content/memo'), join(folder.path, 'other/memo'));
    await ContentStore.open(folder.path);
    expect(await readdir(join(folder.path, 'content'))).toContain('memo');
  });

  test.skipIf(process.getuid?.() !== 0)('loses no blob with the power: needs root', async () => {
    await using disk = await cuttableFileSystem();
    const durable = await ContentStore.open(disk.path);
    const small = await durable.put(Buffer.from('small'));
    await durable.ingest(blob, source().from, { signal });
    const left = await ContentStore.open(await disk.cut());
    expect(await left.read(small)).toEqual(Buffer.from('small'));
    expect(await left.read(blob.digest)).toEqual(bytes);
  });
});

interface IngestHolder extends AsyncDisposable {
  /** Lets it write the rest and commit. */
  finish(): void;
  kill(): Promise<void>;
}

/** Another process that has written ten bytes of the blob and goes on when it is told to. */
async function startWriter(): Promise<IngestHolder> {
  const file = join(folder.path, 'bytes');
  await writeFile(file, bytes);
  const child = spawn(process.execPath, [holdIngest, folder.path, blob.digest, file], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  await Promise.race([once(child.stdout, 'data'), ended]);
  return { finish: () => child.stdin.write('x'), kill, [Symbol.asyncDispose]: kill };
}

function disposable<T extends { close(): Promise<void> }>(value: T): T & AsyncDisposable {
  return Object.assign(value, { [Symbol.asyncDispose]: () => value.close() });
}
