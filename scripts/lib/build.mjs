/**
 * The build: messages from `proto`, the modules of `src`, the program that they make, its companions
 * (`demo`, `bench`). A step whose inputs are as they were when it last succeeded is skipped; they are
 * compared by contents.
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { bundle } from './bundle.mjs';
import { Failure } from './failure.mjs';
import { filesBelow, fingerprint } from './files.mjs';
import { capture } from './run.mjs';
import { inTree, tool } from './tree.mjs';

/** @typedef {{ name: string, inputs: string[], stamp: string, run: () => Promise<void> }} Step */

const COMPILER_INPUTS = ['package-lock.json', 'tsconfig.json'];

/** @type {Step[]} */
const STEPS = [
  {
    name: 'messages',
    inputs: ['package-lock.json', 'proto', 'buf.yaml', 'buf.gen.yaml'],
    stamp: 'src/generated/.stamp',
    run: generateMessages,
  },
  {
    name: 'src',
    inputs: [...COMPILER_INPUTS, 'tsconfig.build.json', 'src'],
    stamp: 'dist/.stamp',
    run: () => compile('tsconfig.build.json', { src: 'dist' }),
  },
  {
    name: 'program',
    inputs: ['package-lock.json', 'src', 'scripts/lib/bundle.mjs'],
    stamp: 'dist/program/.stamp',
    run: bundle,
  },
  {
    name: 'demo and bench',
    inputs: [...COMPILER_INPUTS, 'tsconfig.tools.json', 'demo', 'bench'],
    stamp: 'dist/demo/.stamp',
    run: () => compile('tsconfig.tools.json', { demo: 'dist/demo', bench: 'dist/bench' }),
  },
];

/** @throws Failure with the compiler's words */
export async function build() {
  for (const step of STEPS) await runStep(step);
}

/** @param {Step} step */
async function runStep({ name, inputs, stamp, run }) {
  const before = fingerprint(inputs);
  const path = inTree(stamp);
  if (existsSync(path) && readFileSync(path, 'utf8') === before) return;
  rmSync(path, { force: true });
  console.log(`Building ${name}`);
  await run();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, before);
}

async function generateMessages() {
  if (!existsSync(inTree('proto')) || !existsSync(inTree('buf.gen.yaml'))) return;
  const path = `${inTree('node_modules/.bin')}${delimiter}${process.env['PATH'] ?? ''}`;
  const options = { env: { ...process.env, PATH: path } };
  const { code, output } = await capture(tool('buf'), ['generate'], options);
  if (code !== 0) throw new Failure(`Cannot generate the messages from proto:\n${output}`);
}

/**
 * @param {string} project
 * @param {Record<string, string>} folders where each source folder's output goes
 */
async function compile(project, folders) {
  for (const [from, to] of Object.entries(folders)) removeOrphans(from, to);
  const { code, output } = await capture(tool('tsc'), ['-p', project]);
  if (code !== 0)
    throw new Failure(`Cannot compile ${Object.keys(folders).join(', ')}:\n${output}`);
}

/**
 * Removes compiled files whose source is gone, so that nothing runs that a fresh clone lacks.
 * @param {string} from
 * @param {string} to
 */
function removeOrphans(from, to) {
  const other = ['dist/demo/', 'dist/bench/', 'dist/program/'].filter(
    (folder) => folder !== `${to}/`,
  );
  for (const file of filesBelow(to)) {
    const source = join(from, file.slice(to.length + 1)).replace(/\.js(\.map)?$/, '.ts');
    if (!source.endsWith('.ts') || other.some((folder) => file.startsWith(folder))) continue;
    if (!existsSync(inTree(source))) rmSync(inTree(file));
  }
}
