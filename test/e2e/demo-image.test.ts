import { join } from 'node:path';
import { expect, it } from 'vitest';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import { DEMO_PROCESS, demoLayers } from '../../demo/image/demo-image.js';
import { writeLayout } from '../../demo/image/write-layout.js';
import { openSandbox } from '../support/sandbox.js';

it('starts the demo container with less than 40 % of its compressed bytes', async () => {
  await using sandbox = await openSandbox();
  const layout = join(sandbox.directory, 'layout');
  const layers = await demoLayers();
  const image = await writeLayout({ layout, tag: 'latest', layers, process: DEMO_PROCESS });
  expect(image.compressedSize).toBeGreaterThan(60_000_000);
  expect(image.layers.length).toBeGreaterThanOrEqual(3);
  await using publisher = await openSandbox();
  const built = await publisher.siphon('index', 'build', '--push', `oci:${layout}:latest`);
  expect(built, built.stderr).toMatchObject({ code: 0 });
  const server = await serveLayout({ layout });
  try {
    const { stdout, code } = await sandbox.siphon(
      '--fill-after',
      'never',
      'run',
      '--rm',
      `docker://${server.host}/demo:latest`,
    );
    expect({ code, stdout }).toMatchObject({ code: 0 });
    expect(stdout).toContain('Hello from Node');
    expect(server.stats.bytesSent).toBeLessThan(0.4 * image.compressedSize);
  } finally {
    await server.close();
  }
}, 180_000);
