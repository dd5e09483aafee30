/**
 * `npm run test:node24`: the tests under Node 24, whatever Node runs this script. The tree is copied to
 * a temporary folder, where the native modules are compiled again; nothing changes here. Arguments go
 * to vitest.
 */

import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Failure, script } from './lib/failure.mjs';
import { capture, show } from './lib/run.mjs';
import { setup } from './lib/setup.mjs';
import { inTree } from './lib/tree.mjs';

const MAJOR = 24;
const NOT_COPIED = ['.git', 'dist', '.cache'].map((name) => inTree(name));

await script(async () => {
  await setup('test');
  const folder = mkdtempSync(join(tmpdir(), 'siphon-node-'));
  chmodSync(folder, 0o755); // tests that drop to another user run programs of this tree
  // Ctrl-C reaches the tests as well, which then clean up; this process waits for them.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {});
  try {
    const bin = await installNode(join(folder, 'node'));
    const tree = join(folder, 'tree');
    cpSync(inTree(), tree, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (source) => !NOT_COPIED.includes(source),
    });
    return await show(join(bin, 'node'), ['scripts/test.mjs', ...process.argv.slice(2)], {
      cwd: tree,
      env: { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}` },
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/**
 * Node as an npm package: its `bin/node` and its headers.
 * @param {string} folder
 * @returns {Promise<string>} the folder of the program
 */
async function installNode(folder) {
  const name = `node-linux-${process.arch}`;
  console.log(`Installing Node ${MAJOR} (npm package ${name})`);
  const args = ['install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund'];
  const { code, output } = await capture('npm', [...args, `${name}@${MAJOR}`], { cwd: tmpdir() });
  if (code !== 0) throw new Failure(`Cannot install ${name}@${MAJOR}:\n${output}`);
  return join(folder, 'node_modules', name, 'bin');
}
