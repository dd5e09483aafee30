/** `siphon serve` with a root that cannot be written. */

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Sandbox, must, openSandbox, run } from '../support/sandbox.js';

const missing = process.getuid?.() === 0 ? undefined : 'needs root';
const siphon = fileURLToPath(new URL('../../bin/siphon', import.meta.url));

let sandbox: Sandbox;

beforeAll(async () => {
  sandbox = await openSandbox();
});

afterAll(() => sandbox?.[Symbol.asyncDispose]());

describe.skipIf(missing !== undefined)(`a read-only root ${missing ?? ''}`, () => {
  it.each([
    ['that is there', '.'],
    ['that would have to be made', 'new/root'],
  ])('%s is refused in a sentence, and nothing is started', async (_, name) => {
    const disk = await sandbox.folder('disk');
    await must('mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', disk);
    const root = join(disk, name);
    const address = join(sandbox.directory, 'siphon.sock');
    const refused = await run(siphon, ['--root', root, 'serve', '--address', address]);
    await must('umount', disk);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain(`Cannot serve from root "${root}": EROFS: `);
    expect(refused.stderr).toContain('expected a folder that can be written');
    expect(refused.stderr.trim().split('\n')).toHaveLength(1);
  });
});
