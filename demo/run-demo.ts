/**
 * The demo's steps: an image from this machine's files, indexes beside it, a registry on loopback, and
 * a container that runs before its image is here. All of it goes through the command line that people
 * use; only the registry runs in this process, which is how the bytes are counted.
 */

import { join } from 'node:path';
import { formatBytes } from '#src/cli/format.js';
import { type LayoutServer, serveLayout } from '#src/registry-server/serve-layout.js';
import { CONTAINERD_LINES } from './containerd-lines.js';
import { DEMO_PROCESS, demoLayers } from './image/demo-image.js';
import { type WrittenImage, writeLayout } from './image/write-layout.js';
import { portion, type Screen, seconds } from './screen.js';
import { siphon } from './siphon-process.js';
import { WorkFolder } from './work-folder.js';

/** A lazy start that needs more of the image than this share has lost its point. */
const LARGEST_SHARE = 0.4;

interface Demo {
  screen: Screen;
  signal: AbortSignal;
  folder: WorkFolder;
  layout: string;
  /** siphon's state folder. */
  root: string;
}

/**
 * @throws an error of any kind once the signal is aborted; Error where a step fails, a start fetches too much or something stays
 * mounted. Whatever happens, the temporary folder and all in it is gone afterwards.
 */
export async function runDemo(screen: Screen, signal: AbortSignal): Promise<void> {
  {
    await using folder = await WorkFolder.create();
    const layout = join(folder.path, 'layout');
    const demo = { screen, signal, folder, layout, root: join(folder.path, 'root') };
    const image = await buildImage(demo);
    await publishIndexes(demo);
    await runLazily(demo, image);
    const left = await folder.mounts();
    if (left.length > 0) throw new Error(`These stayed mounted: ${left.join(', ')}`);
  }
  screen.title('Nothing of this is left. Into containerd, siphon goes with these lines:');
  screen.line(CONTAINERD_LINES);
}

async function buildImage({ screen, signal, layout }: Demo): Promise<WrittenImage> {
  screen.title("1. An image, built from this machine's files");
  const started = performance.now();
  const image = await writeLayout({
    layout,
    signal,
    tag: 'latest',
    layers: await demoLayers(),
    process: DEMO_PROCESS,
    onLayer: ({ size }, title) => screen.line(`  ${formatBytes(size).padStart(9)}  ${title}`),
  });
  const time = seconds(performance.now() - started);
  screen.line(`  ${formatBytes(image.compressedSize).padStart(9)}  compressed in all (${time})`);
  return image;
}

async function publishIndexes({ screen, signal, layout, root }: Demo): Promise<void> {
  screen.title('2. Its indexes, published beside it: siphon index build --push oci:DIR:latest');
  const args = ['index', 'build', '--push', `oci:${layout}:latest`];
  const { elapsed } = await siphon(args, { root: `${root}-of-publisher`, signal });
  screen.line(`  done (${seconds(elapsed)})`);
}

async function runLazily(demo: Demo, image: WrittenImage): Promise<void> {
  const server = await serveLayout({ layout: demo.layout });
  try {
    const source = `docker://${server.host}/demo:latest`;
    demo.screen.title(`3. A container from a registry: siphon run ${source}`);
    const first = await start(demo, { source, server, image });
    demo.screen.title('4. The same again, from what is already here');
    await start(demo, { source, server, image });
    const share = first / image.compressedSize;
    if (share >= LARGEST_SHARE) {
      throw new Error(
        `The first start fetched ${Math.round(share * 100)} % of the image, expected less than ${LARGEST_SHARE * 100} %`,
      );
    }
  } finally {
    await server.close();
  }
}

interface Start {
  source: string;
  server: LayoutServer;
  image: WrittenImage;
}

/** Runs the image's program; the result is the number of bytes that the registry sent for it. */
async function start(demo: Demo, { source, server, image }: Start): Promise<number> {
  const { screen, root, signal } = demo;
  const before = server.stats.bytesSent;
  const fetched = (): number => server.stats.bytesSent - before;
  const running = siphon(['run', '--rm', source], {
    root,
    signal,
    onOutput: (text) => {
      for (const line of text.trimEnd().split('\n')) screen.line(`  > ${line}`);
    },
  });
  const total = image.compressedSize;
  const result = await screen.watch(running, 'fetched', () => [fetched(), total]);
  screen.line(`  first output after ${seconds(result.firstOutput ?? result.elapsed)}`);
  screen.line(`  fetched ${portion(fetched(), total)}`);
  return fetched();
}
