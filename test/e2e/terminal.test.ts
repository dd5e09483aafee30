/** What a walk through ctr does with containers, done with siphon at a terminal. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeContainerImage } from '../support/container-image.js';
import { type Sandbox, openSandbox } from '../support/sandbox.js';
import { type Terminal, startSiphonInTerminal } from '../support/terminal.js';

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
  await sandbox.siphon('rm', '--force', 'walk');
  await sandbox[Symbol.asyncDispose]();
});

function siphon(...args: string[]): Terminal {
  return startSiphonInTerminal(sandbox, ...args);
}

describe.skipIf(skip)('siphon at a terminal: needs root', () => {
  it('pull shows bars; run --rm -t is a terminal of the right size', async () => {
    const pull = siphon('pull', source);
    await pull.see(/\|\++\|/);
    await pull.see(/elapsed: \d+\.\d s +total: [\d.]+ \w+ \([\d.]+ \w+\/s\)/);
    expect(await pull.ended).toBe(0);
    const list = siphon('images');
    await list.see(/NAME +DIGEST +IN REGISTRY +ON DISK +FETCHED +STATE/);
    await list.see(/container-image:latest +sha256:\w+ .* +\d+ % +(?:lazy|whole)/);
    expect(await list.ended).toBe(0);
    const remove = siphon('rmi', source);
    await remove.see(/removed \d+ layers and \d+ blobs/);
    expect(await remove.ended).toBe(0);

    const run = siphon('run', '--rm', '-t', source, 'sh');
    await run.see('# ');
    run.type('stty size; echo $((6*7)); echo $TERM\n');
    await run.see('33 77');
    await run.see('42');
    await run.see('xterm');
    run.resize(90, 40);
    // The shell of ours forgets a Ctrl-C that comes between its fork and its exec.
    run.type('sh -c "echo be""gun; exec sleep 100"\n');
    await run.see('begun');
    run.type('\x03'); // ends the sleep, and nothing else
    await run.see('# ');
    run.type('stty size; exit 3\n');
    await run.see('40 90');
    expect(await run.ended).toBe(3);
    expect((await sandbox.siphon('ps', '--all', '--quiet')).stdout).toBe('');

    const missing = siphon('run', '--rm', '-t', source, 'no-such');
    await missing.see('no-such');
    expect(await missing.ended).toBe(127);
  }, 60_000);

  it('run -t can be left and attached to again', async () => {
    const run = siphon(
      'run',
      '-t',
      '--rm',
      '--name',
      'left',
      source,
      'sh',
      '-c',
      'echo up; read a; echo "got $a"',
    );
    await run.see('up');
    run.type('\x10\x11');
    await run.see('detached from left');
    expect(await run.ended).toBe(0);
    await siphon('ps').see(/left +oci:.* running/);
    const again = siphon('attach', 'left');
    again.type('typed\n');
    await again.see('got typed');
    expect(await again.ended).toBe(0);
  }, 60_000);

  it('run -d -t, ps, attach, leave, attach again, exec -it, kill -s SIGKILL, rm', async () => {
    const run = siphon('run', '-d', '-t', '--name', 'walk', source, 'sh');
    await run.see('walk\n');
    expect(await run.ended).toBe(0);
    const list = siphon('ps');
    await list.see(/walk +oci:.* sh .* running +\d+/);

    const first = siphon('attach', 'walk');
    first.type('stty size\n');
    await first.see('33 77');
    first.resize(90, 40);
    first.type('until [ "$(stty size)" = "40 90" ]; do sleep 0.1; done; echo re""sized\n');
    await first.see('resized');
    first.type('\x10\x11');
    await first.see('detached from walk');
    expect(await first.ended).toBe(0);

    const other = siphon('exec', '-it', 'walk', 'sh');
    await other.see('# ');
    other.type('stty size; exit 6\n');
    await other.see('33 77');
    expect(await other.ended).toBe(6);

    const second = siphon('attach', 'walk');
    second.type('echo $((6*7))\n');
    await second.see('42');
    const kill = siphon('kill', '-s', 'SIGKILL', 'walk');
    expect(await kill.ended).toBe(0);
    expect(await second.ended).toBe(137);
    const all = siphon('ps', '--all');
    await all.see('exited (137)');
    expect(await siphon('rm', 'walk').ended).toBe(0);
  }, 90_000);
});
