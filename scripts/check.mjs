/**
 * `npm run check`: format, lint, types, the direction of dependencies, unused code. Each prints one
 * line, and its findings where it failed.
 */

import { build } from './lib/build.mjs';
import { Failure, script } from './lib/failure.mjs';
import { missingFromLock } from './lib/lockfile.mjs';
import { capture } from './lib/run.mjs';
import { setup } from './lib/setup.mjs';
import { tool } from './lib/tree.mjs';

/** @type {{ name: string, command: string, args: string[] }[]} */
const CHECKS = [
  { name: 'format', command: 'prettier', args: ['--check', '--log-level=warn', '.'] },
  { name: 'lint', command: 'oxlint', args: [] },
  { name: 'types', command: 'tsc', args: ['-p', '.'] },
  { name: 'types of scripts', command: 'tsc', args: ['-p', 'scripts'] },
  {
    name: 'dependencies',
    command: 'depcruise',
    args: [
      '--config',
      '.dependency-cruiser.mjs',
      '--output-type',
      'err-long',
      'src',
      'demo',
      'bench',
      'test',
    ],
  },
  { name: 'unused', command: 'knip', args: ['--no-progress'] },
];

await script(async () => {
  await setup('build');
  await generated();
  const failed = checkLock() ? [] : ['lock file'];
  for (const { name, command, args } of CHECKS) {
    const { code, output } = await capture(tool(command), args);
    console.log(`${code === 0 ? 'ok    ' : 'failed'} ${name}`);
    if (code === 0) continue;
    failed.push(name);
    console.log(output.trimEnd());
  }
  return failed.length === 0 ? 0 : 1;
});

/** Whether `npm ci` will take the lock file. */
function checkLock() {
  const missing = missingFromLock();
  console.log(`${missing.length === 0 ? 'ok    ' : 'failed'} lock file`);
  for (const name of missing) console.log(`package-lock.json has no entry for ${name}`);
  return missing.length === 0;
}

/** The checks look at generated code as well; what the compiler says of ours is one of them. */
async function generated() {
  try {
    await build();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
  }
}
