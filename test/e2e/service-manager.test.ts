/** `siphon serve` as systemd sees it: one process, which says how it stands. */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { processIsAlive } from '#src/common/process.js';
import { fuseMissing } from '../support/served-folders.js';
import { openSandbox, run } from '../support/sandbox.js';
import { startSiphonService } from '../../bench/programs/siphon-service.js';

const missing = fuseMissing();

/** Binds the socket and prints each message, with `;` for line ends. */
const receiver = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1] if sys.argv[1][0] != '@' else '\\0' + sys.argv[1][1:])
print('bound', flush=True)
while True:
    print(s.recv(4096).decode().replace('\\n', ';'), flush=True)`;

interface Manager extends AsyncDisposable {
  readonly messages: string[];
  said(count: number): Promise<void>;
}

async function startManager(address: string): Promise<Manager> {
  const child = spawn('python3', ['-c', receiver, address], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const messages: string[] = [];
  createInterface(child.stdout).on('line', (line) => messages.push(line));
  const said = async (count: number): Promise<void> => {
    for (const end = Date.now() + 20_000; messages.length < count; await delay(20)) {
      if (Date.now() > end)
        throw new Error(`${count} messages are expected: ${messages.join(', ')}`);
    }
  };
  await said(1);
  return {
    messages,
    said,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

/** The keeper's child. */
async function serverOf(keeper: number): Promise<number> {
  const text = await readFile(`/proc/${keeper}/task/${keeper}/children`, 'utf8');
  return Number(text.trim().split(' ')[0]);
}

describe.skipIf(missing !== undefined)(`siphon serve (${missing ?? 'under a manager'})`, () => {
  it.each(['a path', 'an abstract name'])('says how it stands, to %s', async (kind) => {
    await using sandbox = await openSandbox();
    const path = join(sandbox.directory, 'notify');
    const address = kind === 'a path' ? path : `@siphon${path}`;
    await using manager = await startManager(address);
    process.env['NOTIFY_SOCKET'] = address;
    const siphon = await startSiphonService(sandbox).finally(
      () => delete process.env['NOTIFY_SOCKET'],
    );
    try {
      await manager.said(2);
      // A server that dies is no news: the service goes on.
      process.kill(await serverOf(siphon.pid), 'SIGKILL');
      await manager.said(3);
      process.kill(siphon.pid, 'SIGUSR2');
      await manager.said(5);
      expect(processIsAlive(siphon.pid)).toBe(true);
    } finally {
      expect(await siphon.stop()).toBe(0);
    }
    await manager.said(6);
    const told = manager.messages.map((text) => text.replace(/USEC=\d+/, 'USEC=n'));
    const ready = 'READY=1';
    const reloading = 'RELOADING=1;MONOTONIC_USEC=n';
    expect(told).toEqual(['bound', ready, ready, reloading, ready, 'STOPPING=1']);
  });

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'ends with 0 on %s, as if there were no keeper, and leaves nothing',
    async (signal) => {
      await using sandbox = await openSandbox();
      const siphon = await startSiphonService(sandbox);
      expect(await siphon.stop(signal)).toBe(0);
      expect(await sandbox.mounts()).toEqual([]);
      expect(await readdir(join(sandbox.root, 'keepers'))).toEqual([]);
      expect(await readdir(sandbox.directory)).not.toContain('siphon.sock');
    },
  );

  it('that cannot start says so in one sentence, with the exit code of its reason', async () => {
    await using sandbox = await openSandbox();
    const cases: [string[], number, RegExp][] = [
      [['--address', join(sandbox.directory, 'x'.repeat(120))], 2, /^siphon: Cannot listen on /],
      [['--address', sandbox.directory], 1, /^siphon: Cannot listen on /],
    ];
    for (const [args, code, sentence] of cases) {
      const outcome = await sandbox.siphon('serve', ...args);
      expect(outcome, outcome.stderr).toMatchObject({ code, stdout: '' });
      expect(outcome.stderr).toMatch(sentence);
    }
  });

  it('serves where the manager cannot be told', async () => {
    await using sandbox = await openSandbox();
    process.env['NOTIFY_SOCKET'] = join(sandbox.directory, 'absent');
    const siphon = await startSiphonService(sandbox).finally(
      () => delete process.env['NOTIFY_SOCKET'],
    );
    expect(await siphon.stop()).toBe(0);
    expect(siphon.log()).toContain('the service manager is not told');
  });
});

describe('deploy', () => {
  const folder = fileURLToPath(new URL('../../deploy', import.meta.url));
  const noSystemd = spawnSync('systemd-analyze', ['--version']).status !== 0;

  it.skipIf(noSystemd)('has a unit that systemd takes (where it is installed)', async () => {
    await using sandbox = await openSandbox();
    const unit = join(sandbox.directory, 'siphon.service');
    const script = 'sed "s#/usr/bin/siphon#/bin/true#" "$1" >"$2" && systemd-analyze verify "$2"';
    const outcome = await run('sh', ['-c', script, 'sh', join(folder, 'siphon.service'), unit]);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
  });

  it('has a configuration that containerd takes', async () => {
    await using sandbox = await openSandbox();
    const config = join(folder, 'containerd.toml');
    const outcome = await run('containerd', ['--config', config, 'config', 'dump'], {
      cwd: sandbox.directory,
    });
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stdout).toMatch(/snapshotter = "siphon"/);
    expect(outcome.stdout).toContain('/run/siphon/siphon.sock');
  });
});
