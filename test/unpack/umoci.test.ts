import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readTree } from '../support/tree.js';
import { temporaryFolder, unpackBytes, unpackingMissing } from './support/unpacked.js';
import { writeTrickyImage } from './support/tricky-image.js';

const missing = unpackingMissing() ?? umociMissing();

function umociMissing(): string | undefined {
  try {
    execFileSync('umoci', ['--version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'needs umoci';
  }
}

describe.skipIf(missing !== undefined)(`merged form: ${missing ?? 'umoci'}`, () => {
  it('is what umoci unpacks', async () => {
    const folder = temporaryFolder();
    const image = await writeTrickyImage(folder);
    const bundle = join(folder, 'bundle');
    execFileSync('umoci', ['unpack', '--image', `${image.layout}:latest`, bundle]);
    const target = join(folder, 'root');
    mkdirSync(target);
    for (const { blob, diffId } of image.layers) {
      await unpackBytes(blob, { target, form: 'merged', expected: { diffId } });
    }
    expect(await readTree(target)).toEqual(await readTree(join(bundle, 'rootfs')));
  });
});
