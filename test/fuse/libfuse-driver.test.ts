/** The merged tree through libfuse, as an ordinary user mounts it. */

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { mountLibfuse } from '#src/fuse/libfuse-driver.js';
import { fuseMissing, serveFolders } from '../support/served-folders.js';

const missing =
  fuseMissing() ??
  (spawnSync('fusermount', ['-V']).status === 0 ? undefined : 'needs fusermount (package fuse)');

/** Mounts as nobody, runs the script at the mount, prints its outcome, and unmounts. */
const program = `
import { execFile } from 'node:child_process';
import { openSync, readSync, writeSync } from 'node:fs';
import { mountLibfuse } from '#src/fuse/libfuse-driver.js';
process.setgroups([]); process.setgid(65534); process.setuid(65534);
const { mountPoint, layers, script } = JSON.parse(process.argv[1]);
const served = layers.map((layer) => ({ ...layer, presence: new SharedArrayBuffer(layer.spans) }));
const mount = await mountLibfuse({
  mountPoint,
  layers: served,
  fetchTimeout: 1000,
  async fetch({ layer, firstSpan, lastSpan }) {
    const { presence, dead } = served.find(({ number }) => number === layer);
    if (dead) await new Promise(() => {});
    new Uint8Array(presence).fill(1, firstSpan, lastSpan + 1);
  },
});
const outcome = await new Promise((resolve) =>
  execFile('bash', ['-c', script, 'bash', mountPoint], { encoding: 'latin1' }, (error, stdout, stderr) =>
    resolve({ code: error?.code ?? 0, stdout, stderr })));
await mount.unmount();
console.log(JSON.stringify(outcome));`;

it.skipIf(missing !== undefined)(
  `mountLibfuse (${missing ?? 'by nobody'}) shows the union of layers and reads it lazily`,
  async () => {
    await using served = await serveFolders();
    const [low, high] = [await served.folder('low'), await served.folder('high')];
    const large = randomBytes(500_000);
    writeFileSync(join(low, 'large'), large);
    writeFileSync(join(low, 'gone'), 'gone');
    mkdirSync(join(low, 'both'));
    writeFileSync(join(low, 'both', 'low'), 'low');
    mkdirSync(join(high, 'both'));
    writeFileSync(join(high, 'both', 'high'), 'high');
    writeFileSync(join(high, '.wh.gone'), '');
    execFileSync('ln', ['-s', 'both/low', join(high, 'link')]);
    execFileSync('setfattr', ['-n', 'user.note', '-v', 'kept', join(high, 'both', 'high')]);
    const dead = await served.folder('dead');
    writeFileSync(join(dead, 'unreachable'), 'x');
    await served.add(1, low, { present: true });
    await served.add(2, high, { present: true });
    await served.add(3, dead);

    const mountPoint = await served.folder('own');
    chownSync(mountPoint, 65_534, 65_534);
    chmodSync(served.directory, 0o755);
    const layers = [3, 2, 1].map((number) => {
      const { presence, ...layer } = served.served(number);
      for (const path of [layer.indexPath, layer.cachePath]) chmodSync(path, 0o644);
      return { ...layer, spans: presence.byteLength, dead: number === 3 };
    });
    const script = `
      cd "$1"; find . | LC_ALL=C sort; cat link both/high; sha256sum < large; stat -c '%F %a %s %h' large both
      getfattr --only-values -n user.note both/high; echo
      touch new 2>&1 | grep -o 'Read-only file system'
      cat unreachable 2>&1 | grep -o 'Input/output error'`;
    const outcome = await runProgram(
      served.directory,
      JSON.stringify({ mountPoint, layers, script }),
    );
    const digest = execFileSync('sha256sum', { input: large }).toString();
    expect(outcome.stdout.split('\n')).toEqual([
      '.',
      './both',
      './both/high',
      './both/low',
      './large',
      './link',
      './unreachable',
      `lowhigh${digest.trim()}`,
      'regular file 644 500000 1',
      'directory 755 0 1',
      'kept',
      'Read-only file system',
      'Input/output error',
      '',
    ]);
  },
);

it.skipIf(missing !== undefined)('mountLibfuse says why it cannot mount', async () => {
  await using served = await serveFolders();
  await served.add(1, await served.folder('source'));
  const mountPoint = join(served.directory, 'absent');
  const fetch = (): Promise<void> => Promise.resolve();
  await expect(
    mountLibfuse({ mountPoint, layers: [served.served(1)], fetch }),
  ).rejects.toMatchObject({
    code: 'permission',
    message: `Cannot mount on "${mountPoint}" through libfuse: Mountpoint does not exist`,
  });
});

/** Runs {@link program} where everybody may open /dev/fuse, as udev has it on most machines. */
async function runProgram(directory: string, argument: string): Promise<{ stdout: string }> {
  const device = join(directory, 'fuse');
  execFileSync('mknod', ['-m', '666', device, 'c', '10', '229']);
  const script = 'mount --bind "$1" /dev/fuse && shift && exec "$@"';
  const node = [process.execPath, '--input-type=module', '-e', program, argument];
  const child = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', device, ...node], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await once(child, 'close');
  return JSON.parse(text) as { stdout: string };
}
