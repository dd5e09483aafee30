/** The demo's image without its Node runtime: everything that makes layers hard, in a few megabytes. */

import { join } from 'node:path';
import { DEMO_PROCESS, demoLayers } from '../../demo/image/demo-image.js';
import type { LayerCompression } from '../../demo/image/write-layer.js';
import { type WrittenImage, writeLayout } from '../../demo/image/write-layout.js';
import type { Sandbox } from './sandbox.js';

export interface DemoLayout extends WrittenImage {
  layout: string;
  /** As a siphon source. */
  source: string;
}

export async function writeSmallLayout(
  sandbox: Sandbox,
  compression: LayerCompression = 'gzip',
): Promise<DemoLayout> {
  const plans = await demoLayers({ dataSize: 6 * 1024 * 1024, smallFiles: 500 });
  const layout = join(sandbox.directory, `layout-${compression}`);
  const image = await writeLayout({
    layout,
    tag: 'latest',
    layers: plans
      .filter((plan) => plan.title !== 'the Node runtime')
      .map((plan) => ({ ...plan, compression })),
    process: { ...DEMO_PROCESS, Cmd: ['sh', '-c', 'echo "small files: $(ls /app/words | wc -l)"'] },
  });
  return { ...image, layout, source: `oci:${layout}:latest` };
}
