/** The sizes that the benchmark tells of images, and of what was published beside them. */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openBenchRegistry, sizeOf } from '../../bench/harness/bench-registry.js';
import { layerBlobs } from '../../bench/images/layer-blobs.js';
import {
  emptyConfig,
  manifestOf,
  openRegistry,
  randomBlob,
  repository,
} from '../remote/helpers.js';
import { openSandbox } from '../support/sandbox.js';
import { buildShellImage } from '../support/shell-image.js';

const { signal } = new AbortController();

test('an image has the layers that were pushed, and what refers to it the bytes of its own', async () => {
  await using sandbox = await openSandbox();
  const { layout } = await buildShellImage(sandbox.directory);
  await using registry = await openBenchRegistry(join(sandbox.directory, 'cache'));
  const path = `${repository}:v1`;
  await registry.push(`oci:${layout}:latest`, path, signal);
  const image = await registry.image('app', path);
  const pushed = (await layerBlobs(layout)).map(({ digest, size }) => ({ digest, size }));
  expect(image.layers).toEqual(pushed);
  expect(sizeOf(image.layers)).toBeGreaterThan(0);

  const client = openRegistry(registry.host);
  const { descriptor: subject } = await client.fetchManifest({ tag: 'v1' }, signal);
  for (const size of [12_345, 678]) {
    const index = randomBlob(size);
    for (const { descriptor, bytes } of [emptyConfig, index])
      await client.pushBlob(descriptor, bytes, signal);
    const { descriptor, bytes } = manifestOf([index.descriptor], { subject });
    await client.pushReferrer(bytes, descriptor, subject, 'application/test', signal);
  }
  expect(await registry.referrerBytes(image)).toBe(12_345 + 678);
});
