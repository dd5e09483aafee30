/** Images that the benchmark makes, and those that a user names, in the benchmark's registry. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { execute } from '../programs/execute.js';
import { buildImage } from '../images/build-image.js';
import { layerBlobs } from '../images/layer-blobs.js';
import { ALL_IMAGES } from '../images/all-images.js';
import type { ImagePlan } from '../images/image-plan.js';
import type { StartImage } from '../scenarios/start-stages.js';
import type { Bench } from './bench.js';
import { sizeOf } from './bench-registry.js';
import type { LayoutImage } from './command-contestant.js';
import { shortHash } from './program-finder.js';

export interface ImageChoice {
  name: string;
  title: string;
  ready: RegExp;
  ends: boolean;
  /** Instead of the image's own command. */
  command?: readonly string[];
  /** Made by the benchmark, or what skopeo takes as a source. */
  from: { plan: ImagePlan } | { source: string };
  /** One that shares layers with it. */
  second?: ImageChoice;
}

/** Those that stand for themselves, by name. */
export function ownImages(): ImageChoice[] {
  return ALL_IMAGES.filter(({ sharesLayersWith }) => sharesLayersWith === undefined).map((plan) => {
    const second = ALL_IMAGES.find((other) => other.sharesLayersWith === plan);
    return { ...ownImage(plan), ...(second === undefined ? {} : { second: ownImage(second) }) };
  });
}

function ownImage(plan: ImagePlan): ImageChoice {
  const { name, title, ready, ends = false } = plan;
  return { name, title, ready, ends, from: { plan } };
}

/** The image on this disk. */
export async function imageLayout(bench: Bench, { name, from }: ImageChoice): Promise<LayoutImage> {
  const layout =
    'plan' in from ? await planLayout(bench, from.plan) : await copyLayout(bench, from.source);
  const layers = await layerBlobs(layout);
  return { name, layout, layers, size: sizeOf(layers) };
}

function planLayout({ cache, signal, progress }: Bench, plan: ImagePlan): Promise<string> {
  return buildImage(plan, { cache, signal, onStep: (what) => progress.note(what) });
}

async function copyLayout({ folder, signal }: Bench, source: string): Promise<string> {
  const layout = join(folder, `layout-${shortHash(source)}`);
  if (existsSync(layout)) return layout;
  const words = ['--insecure-policy', 'copy', '--quiet', '--src-tls-verify=false', source];
  await execute('skopeo', [...words, `oci:${layout}:latest`], { signal });
  return layout;
}

/** Makes the image if it is not there yet, and brings it into the registry. */
export async function publishImage(bench: Bench, choice: ImageChoice): Promise<StartImage> {
  const { registry, signal } = bench;
  const { name, from, ready, ends, command } = choice;
  let path = `user-${shortHash('source' in from ? from.source : '')}:latest`;
  if ('plan' in from) {
    path = `${name}:v${from.plan.version}`;
    await registry.push(`oci:${await planLayout(bench, from.plan)}:latest`, path, signal);
  } else await registry.push(from.source, path, signal);
  const image = await registry.image(name, path);
  return { image, ready, ends, ...(command === undefined ? {} : { command }) };
}
