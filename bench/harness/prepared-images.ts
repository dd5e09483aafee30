/** What contestants made of images, once: their repositories stay in the registry, and how long it took is noted. */

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench } from './bench.js';
import type { PreparedImage, StartContestant } from './contestant.js';
import type { PublishedImage } from './published-image.js';
import { shortHash } from './program-finder.js';

/** @returns `undefined` for a contestant that takes images as they are */
export async function preparedImage(
  bench: Bench,
  {
    contestant,
    versions,
    image,
  }: {
    contestant: StartContestant;
    versions: Record<string, string>;
    image: PublishedImage;
  },
): Promise<PreparedImage | undefined> {
  if (contestant.prepare === undefined) return undefined;
  const by = contestant.preparedBy?.(versions) ?? JSON.stringify([contestant.name, versions]);
  const version = shortHash(by);
  const record = join(bench.cache, 'prepared', `${shortHash(image.digest)}-${version}.json`);
  const noted = await readFile(record, 'utf8').catch(() => undefined);
  // Our own file; who changes it changes numbers of theirs.
  if (noted !== undefined) return JSON.parse(noted) as PreparedImage;
  bench.signal.throwIfAborted();
  bench.progress.note(`${contestant.title} prepares ${image.name}`);
  const folder = await mkdtemp(join(bench.folder, 'prepare-'));
  try {
    const { registry, programs, signal } = bench;
    const tools = { registry, programs, folder, version, signal };
    const prepared = await contestant.prepare(image, tools);
    await mkdir(join(bench.cache, 'prepared'), { recursive: true });
    await writeFile(record, JSON.stringify(prepared));
    return prepared;
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
