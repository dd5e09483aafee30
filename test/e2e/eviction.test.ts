/** A span cache that is much smaller than what is read at once: everything is read right, from a cache that stays small. */

import { status } from '@grpc/grpc-js';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createLayout } from '#src/content/layout-writer.js';
import type { ServiceStatus } from '#src/monitor/service-status.js';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { startSiphonService } from '../../bench/programs/siphon-service.js';
import { layerLabels } from '../support/layer-labels.js';
import { buildLayout, file, noise } from '../support/images.js';
import { mounted } from '../support/mounted.js';
import { must, openSandbox } from '../support/sandbox.js';
import { connectSnapshots } from '../support/snapshots-client.js';

const MIB = 1 << 20;
const LIMIT = 6 * MIB;
const contents = Array.from({ length: 8 }, (_, n) => noise(3 * MIB, `evicted ${n}`));
const missing = process.getuid?.() === 0 ? undefined : 'needs root';

it.skipIf(missing !== undefined)(
  `spans go while others are read, and come back when they are ${missing ?? ''}`,
  async () => {
    await using sandbox = await openSandbox();
    const layout = await sandbox.folder('layout');
    await createLayout(layout);
    const entries = contents.map((bytes, n) => file(`file-${n}`, bytes));
    const image = await buildLayout(layout, { tag: 'latest', layers: [entries] });
    await using publisher = await openSandbox();
    for (const command of ['build', 'push']) {
      const done = await publisher.siphon('index', command, `oci:${layout}:latest`);
      expect(done, done.stderr).toMatchObject({ code: 0 });
    }
    const registry = await serveLayout({ layout });
    const config = join(sandbox.directory, 'small.toml');
    await writeFile(
      config,
      `smallest_lazy_layer = 0\ncache_size = ${LIMIT}\nfill_after = "never"\n`,
    );
    const siphon = await startSiphonService(sandbox, '--config', config);
    const { address } = siphon;
    const snapshots = connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
    try {
      const labels = layerLabels({
        target: 'chain',
        image: `${registry.host}/app:latest`,
        digest: image.layers[0]?.digest ?? '',
      });
      const prepared = snapshots.prepare('pull', '', labels);
      await expect(prepared).rejects.toMatchObject({ code: status.ALREADY_EXISTS });
      await snapshots.view('view', 'chain');
      const cache = async (): Promise<ServiceStatus['counters']['cache']> => {
        const { stdout } = await sandbox.siphon('--json', 'status');
        return (JSON.parse(stdout) as ServiceStatus).counters.cache;
      };
      await mounted(await snapshots.mounts('view'), async (root) => {
        const readAll = async (from: number): Promise<void> => {
          for (let at = 0; at < contents.length; at += 1) {
            const n = (from + at) % contents.length;
            const bytes = await readFile(join(root, `file-${n}`));
            expect(contents[n]?.equals(bytes), `file-${n}`).toBe(true);
          }
        };
        for (let round = 0; round < 2; round += 1) {
          await Promise.all([0, 3, 5].map(readAll));
          // What was read a moment ago may stay for a moment.
          const size = async (): Promise<number> => (await cache()).size;
          await expect.poll(size, { timeout: 15_000 }).toBeLessThanOrEqual(LIMIT);
          await must('sh', '-c', 'echo 3 > /proc/sys/vm/drop_caches');
        }
      });
      // In each round all but what fits went.
      expect((await cache()).evictedBytes).toBeGreaterThan(contents.length * 3 * MIB);
    } finally {
      snapshots.close();
      await siphon.stop();
      await registry.close();
    }
  },
  120_000,
);
