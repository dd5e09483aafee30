/** Containers that come and go side by side, and people who do odd things to them. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { siphonProgram } from '../../bench/programs/siphon-program.js';
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

afterAll(async () => {
  if (skip) return;
  await removeContainers(sandbox);
  await sandbox[Symbol.asyncDispose]();
});

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await sandbox.siphon(...args);
  expect(code, stderr).toBe(0);
  return stdout;
}

function atTerminal(...args: string[]): Terminal {
  return startSiphonInTerminal(sandbox, ...args);
}

describe.skipIf(skip)('containers side by side: need root', () => {
  it('of two that want one name, one runs, and the other is told', async () => {
    const both = [1, 2].map(() =>
      sandbox.siphon('run', '--rm', '--name', 'same', source, 'sleep', '60'),
    );
    // The one that runs does so until the other has ended, however late that began.
    expect(await Promise.race(both)).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('Cannot create container "same": there is one') as string,
    });
    await until(async () => /^same .* running/m.test(await ok('ps')));
    await ok('kill', 'same');
    const codes = (await Promise.all(both)).map(({ code }) => code);
    expect(new Set(codes)).toEqual(new Set([125, 137]));
  });

  it('ps shows whatever is there while they come and go', async () => {
    const runs = ['--rm', '-d', '--rm', '-d'].map(async (option, at) => {
      await ok('run', '--rm', option, '--name', `n${at}`, source, 'sleep', '1');
      return 'over' as const;
    });
    const over = Promise.all(runs);
    const seen = new Set<string>();
    for (let isOver = false; !isOver;) {
      const shown = JSON.parse(await ok('ps', '--all', '--json')) as { id: string }[];
      for (const { id } of shown) seen.add(id);
      isOver = (await Promise.race([over, sleep(1)])) !== undefined;
    }
    await until(async () => (await ok('ps', '--all', '--quiet')) === '');
    expect(seen.size).toBeGreaterThan(0);
  });

  it('take names of 76 characters, and none that are longer', async () => {
    const longest = 'n'.repeat(76);
    await ok('run', '-d', '-t', '--name', longest, source, 'sleep', '60');
    expect(await ok('exec', longest, 'id', '-u')).toBe('0\n');
    const longer = await sandbox.siphon('run', '--name', `${longest}n`, source);
    expect(longer).toMatchObject({ code: 2 });
    await ok('rm', '--force', longest);
  });
});

describe.skipIf(skip)('odd doings with a container: need root', () => {
  it('run that is stopped by Ctrl-Z goes on later, and has lost nothing', async () => {
    const script =
      'i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; until [ -e /tmp/on ]; do sleep 0.1; done; echo end';
    const child = spawn(
      process.execPath,
      [
        siphonProgram,
        '--root',
        sandbox.root,
        'run',
        '--rm',
        '--name',
        'z',
        source,
        'sh',
        '-c',
        script,
      ],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const printed = text(child.stdout);
    const ended = once(child, 'exit');
    await until(async () => (await sandbox.siphon('ps')).stdout.includes('running'));
    child.kill('SIGTSTP');
    await ok('exec', 'z', 'sh', '-c', 'echo >/tmp/on');
    await sleep(1500);
    child.kill('SIGCONT');
    expect(await ended).toEqual([0, null]);
    const numbers = Array.from({ length: 3000 }, (_, line) => `${line}\n`).join('');
    expect((await printed) === `${numbers}end\n`).toBe(true);
  });

  it('a window that is resized without rest ends with the right size', async () => {
    const terminal = atTerminal('run', '--rm', '-t', source, 'sh');
    await terminal.see('# ');
    for (let step = 0; step < 300; step++) {
      terminal.resize(20 + (step % 70), 10 + (step % 30));
      if (step % 10 === 0) await sleep(1);
    }
    terminal.resize(91, 41);
    terminal.type(
      'until [ "$(stty size)" = "41 91" ]; do sleep 0.1; done; echo re""sized; exit 4\n',
    );
    await terminal.see('resized');
    expect(await terminal.ended).toBe(4);
  });

  it('logs -f ends when its container is removed', async () => {
    const script = 'echo up; while :; do sleep 0.1; done';
    await ok('run', '-d', '--name', 'l', source, 'sh', '-c', script);
    const command = [siphonProgram, '--root', sandbox.root, 'logs', '-f', 'l'];
    const following = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [following.stdout, following.stderr])
      stream.on('data', (piece: Buffer) => (said += piece.toString()));
    const ended = once(following, 'close');
    await until(() => Promise.resolve(said === 'up\n'));
    await ok('rm', '--force', 'l');
    expect(await ended).toEqual([0, null]);
    expect(said).toBe('up\n');
  });

  it('exec -t says that a container is paused, or has ended', async () => {
    await ok('run', '-d', '--name', 'p', source, 'sleep', '60');
    await ok('pause', 'p');
    const paused = atTerminal('exec', '-t', 'p', 'id');
    await paused.see(
      'Cannot run a command in container "p": it is paused, expected one that is running',
    );
    expect(await paused.ended).toBe(125);
    await ok('resume', 'p');
    await ok('kill', 'p');
    expect(await ok('wait', 'p')).toBe('137\n');
    const over = atTerminal('exec', '-t', 'p', 'id');
    await over.see('it is exited, expected one that is running');
    expect(await over.ended).toBe(125);
  });

  it('memory that runs out in exec ends that alone, and is noticed', async () => {
    await ok('run', '-d', '--memory', '24m', '--name', 'm', source, 'sleep', '60');
    const hungry = 'x=aaaaaaaa; while :; do x=$x$x; done';
    expect(await sandbox.siphon('exec', 'm', 'sh', '-c', hungry)).toMatchObject({ code: 137 });
    expect(await ok('ps')).toMatch(/^m .* running/m);
    await ok('kill', 'm');
    await ok('wait', 'm');
    expect(await ok('ps', '--all')).toMatch(/^m .* exited \(137\), out of memory/m);
  });
});
