/**
 * Makes the benchmark's images, once: the root file systems by mmdebstrap, a layer of each step by comparing
 * it with the one below, and an OCI layout of the layers. All of it stays in the cache folder; what
 * is half done lies beside its name, and counts as not there.
 */

import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { type LayerPlan, writeLayout } from '../../demo/image/write-layout.js';
import { execute } from '../programs/execute.js';
import { layerBlobs } from './layer-blobs.js';
import type { ImagePlan, PackageRecipe } from './image-plan.js';
import { withParents } from '../../demo/image/entry.js';

/** Of all files that packaging makes, so that a lowest layer made twice is the same layer. */
const SOURCE_DATE = '1700000000';
const SUITE = 'bookworm';

export interface BuildOptions {
  /** The cache folder. */
  cache: string;
  signal: AbortSignal;
  /** Called when something that takes a while begins. */
  onStep: (what: string) => void;
}

/** @returns the folder of an OCI layout with the tag `latest` */
export async function buildImage(plan: ImagePlan, options: BuildOptions): Promise<string> {
  const layout = join(options.cache, 'images', `${plan.name}-${plan.version}`);
  if (existsSync(layout)) return layout;
  await mkdir(join(options.cache, 'images'), { recursive: true });
  const work = await mkdtemp(join(options.cache, 'images', '.work-'));
  try {
    const layers = await layerPlans(plan, work, options);
    options.onStep(`compresses the layers of ${plan.name}`);
    const made = join(work, 'layout');
    await writeLayout({
      layout: made,
      tag: 'latest',
      layers,
      process: plan.process,
      signal: options.signal,
    });
    await rename(made, layout);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return layout;
}

async function layerPlans(
  plan: ImagePlan,
  work: string,
  options: BuildOptions,
): Promise<LayerPlan[]> {
  const plans: LayerPlan[] = [];
  const shared = await sharedTars(plan, work, options);
  let below: string | undefined;
  for (const [number, recipe] of plan.layers.entries()) {
    const { title } = recipe;
    const known = shared[number];
    if (known !== undefined) {
      plans.push({ title, entries: { tar: known } });
      continue;
    }
    if ('files' in recipe) {
      plans.push({ title, entries: withParents(recipe.files()) });
      continue;
    }
    options.onStep(`makes a layer of ${plan.name}: ${title}`);
    const rootfs = join(work, `rootfs-${number}`);
    await makeRootfs(recipe, rootfs, options);
    const layer = below === undefined ? rootfs : await differenceOf({ rootfs, below }, options);
    const tar = tarIn(work, number);
    await packFolder(layer, tar, options);
    plans.push({ title, entries: { tar } });
    below = rootfs;
  }
  return plans;
}

/**
 * The layers of packages of the image that `plan` shares them with, unpacked; compressed again as before, they are
 * the same blobs. Made anew they would not be: packages note when they were set up.
 */
async function sharedTars(plan: ImagePlan, work: string, options: BuildOptions): Promise<string[]> {
  const { sharesLayersWith: other } = plan;
  if (other === undefined) return [];
  const layout = await buildImage(other, options);
  const count = other.layers.findIndex((recipe) => 'files' in recipe);
  const blobs = (await layerBlobs(layout)).slice(0, count === -1 ? undefined : count);
  for (const [number, { path }] of blobs.entries())
    await pipeline(createReadStream(path), createGunzip(), createWriteStream(tarIn(work, number)));
  return blobs.map((_, number) => tarIn(work, number));
}

function tarIn(work: string, number: number): string {
  return join(work, `layer-${number}.tar`);
}

async function makeRootfs(
  { packages, variant, finish = [] }: PackageRecipe,
  rootfs: string,
  { signal }: BuildOptions,
): Promise<void> {
  // Where packages are merely extracted, mmdebstrap has no step after that.
  const hasHooks = variant !== 'extract';
  const hooks = hasHooks ? finish.map((command) => `--customize-hook=${command}`) : [];
  const include = packages.length === 0 ? [] : [`--include=${packages.join(',')}`];
  const words = [`--variant=${variant}`, '--skip=output/dev', '--quiet', ...include, ...hooks];
  const env = { ...process.env, SOURCE_DATE_EPOCH: SOURCE_DATE };
  await execute('mmdebstrap', [...words, SUITE, rootfs], { signal, env });
  if (hasHooks) return;
  for (const command of finish) await execute('sh', ['-ec', command, 'sh', rootfs], { signal });
}

/** What `rootfs` has and `below` has not, or has otherwise; nothing is ever missing from what is above. */
async function differenceOf(
  { rootfs, below }: { rootfs: string; below: string },
  { signal }: BuildOptions,
): Promise<string> {
  const difference = `${rootfs}-difference`;
  const compare = ['-aHX', '--numeric-ids', `--compare-dest=${below}/`];
  await execute('rsync', [...compare, `${rootfs}/`, `${difference}/`], { signal });
  await removeEmptyFolders(difference, below);
  return difference;
}

/** rsync makes every folder; those that are empty and below as well say nothing. */
async function removeEmptyFolders(folder: string, below: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory())
      await removeEmptyFolders(join(folder, entry.name), join(below, entry.name));
  }
  if (existsSync(below) && (await readdir(folder)).length === 0) await rmdir(folder);
}

async function packFolder(folder: string, tar: string, { signal }: BuildOptions): Promise<void> {
  const words = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '--sort=name'];
  await execute(
    'tar',
    [...words, `--clamp-mtime`, `--mtime=@${SOURCE_DATE}`, '-C', folder, '-cf', tar, '.'],
    { signal },
  );
}
