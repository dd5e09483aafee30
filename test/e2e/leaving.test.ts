/** People whose terminal closes while they are at a container. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writeContainerImage } from '../support/container-image.js';
import { removeContainers } from '../support/remove-containers.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { type Terminal, startSiphonInTerminal } from '../support/terminal.js';
import { until } from '../support/until.js';

const skip = process.getuid?.() !== 0;

let sandbox: Sandbox;
let source: string;

beforeAll(async () => {
  if (skip) return;
  sandbox = await openSandbox();
  ({ source } = await writeContainerImage(sandbox.directory));
}, 60_000);

afterEach(async () => {
  if (skip) return;
  await removeContainers(sandbox);
});

afterAll(async () => {
  if (skip) return;
  await sandbox[Symbol.asyncDispose]();
});

function atTerminal(...args: string[]): Terminal {
  return startSiphonInTerminal(sandbox, ...args);
}

async function logOf(name: string): Promise<string> {
  return (await sandbox.siphon('logs', name)).stdout;
}

describe.skipIf(skip)('who leaves a container: needs root', () => {
  it.each([['with its signal'], ['without one']])(
    'attach without -t ends with its terminal, %s, and the container runs on',
    async (how) => {
      const script = 'trap "echo HUP" HUP; echo up; while read a; do echo "got $a"; done; echo end';
      await sandbox.siphon('run', '-d', '-i', '--name', 'a', source, 'sh', '-c', script);
      await until(async () => (await logOf('a')) === 'up\n');
      const terminal = atTerminal('attach', 'a');
      terminal.type('one\n');
      await terminal.see('got one');
      terminal.close();
      if (how === 'with its signal') terminal.signal('SIGHUP');
      expect(await terminal.ended).toBe(128 + 1);
      const again = atTerminal('attach', 'a');
      again.type('two\n');
      await again.see('got two');
      again.close();
      // The log has it a moment later than who is attached.
      await until(async () => (await logOf('a')).endsWith('got two\n'));
      expect(await logOf('a')).toBe('up\ngot one\ngot two\n');
    },
  );
});
