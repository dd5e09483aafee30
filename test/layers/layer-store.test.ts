import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { LayerStore } from '#src/layers/layer-store.js';
import { run } from '../support/sandbox.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const module = fileURLToPath(new URL('../../dist/layers/layer-store.js', import.meta.url));

const layer = {
  blobDigest: `sha256:${'1'.repeat(64)}`,
  identity: 'content',
  blobSize: 1,
  mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
  origin: { kind: 'file', path: '/layer.tar.gz' },
};

/** Notes the layer again and again; a process that prepares it does so once. */
const script = `
  const { LayerStore } = await import('${module}');
  const layers = LayerStore.open(process.argv[1]);
  for (let i = 0; i < 300; i++) layers.register(${JSON.stringify(layer)}, false);
`;

describe('LayerStore', () => {
  it('notes a layer for several processes at once', async () => {
    await using folder = await temporaryFolder();
    LayerStore.open(folder.path)[Symbol.dispose]();
    const flags = ['--input-type=module', '-e', script, folder.path];
    const noting = [1, 2, 3, 4].map(() => run(process.execPath, flags));
    for (const outcome of await Promise.all(noting)) {
      expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    }
    const note = await readFile(join(folder.path, 'layers/1/layer.json'), 'utf8');
    expect(JSON.parse(note)).toMatchObject({ blob_digest: layer.blobDigest });
  });
});
