/** A snapshotter killed in the middle of its work: what it answered for is there after a restart. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { silentLogger } from '#src/common/log.js';
import { Kind } from '#src/generated/containerd/services/snapshots/v1/snapshots.js';
import { serveSnapshotter } from '#src/snapshotter/server.js';
import { type Snapshots, connectSnapshots } from '../support/snapshots-client.js';

const CLIENTS = 8;
const CRASHES = 5;

const serverModule = fileURLToPath(new URL('../../dist/snapshotter/server.js', import.meta.url));
const logModule = fileURLToPath(new URL('../../dist/common/log.js', import.meta.url));
const program = `
  const { serveSnapshotter } = await import(${JSON.stringify(serverModule)});
  const { silentLogger } = await import(${JSON.stringify(logModule)});
  const [root, address] = process.argv.slice(1);
  await serveSnapshotter({ root, address, lazy: undefined, log: silentLogger });
  console.log('ready');
`;

/** What the server has answered: names that must exist; those in doubt are in neither. */
interface Answered {
  present: Map<string, Kind>;
  absent: Set<string>;
}

test.skipIf(process.getuid?.() !== 0)(
  'answers survive kill -9 (needs root)',
  { timeout: 60_000 },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'siphon-crash-'));
    const root = join(folder, 'root');
    const address = join(folder, 's.sock');
    const answered: Answered = { present: new Map(), absent: new Set() };
    let child: ChildProcess | undefined;
    try {
      for (let crash = 0; crash < CRASHES; crash += 1) {
        child = await start(root, address);
        const storms = Array.from({ length: CLIENTS }, (_, client) =>
          storm(`${crash}-${client}`, address, answered),
        );
        const before = answered.present.size;
        while (answered.present.size === before) await delay(10);
        await delay(Math.random() * 150);
        child.kill('SIGKILL');
        await once(child, 'exit');
        await Promise.all(storms);
        await check(root, address, answered);
      }
      expect(answered.present.size).toBeGreaterThan(CRASHES);
    } finally {
      child?.kill('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    }
  },
);

async function start(root: string, address: string): Promise<ChildProcess> {
  const args = ['--input-type=module', '-e', program, root, address];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  expect(line.toString()).toBe('ready\n');
  return child;
}

/** Prepares, commits and removes until the server is gone. */
async function storm(prefix: string, address: string, answered: Answered): Promise<void> {
  const snapshots = connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
  try {
    for (let round = 0; ; round += 1) await step(snapshots, `${prefix}-${round}`, answered);
  } catch (error) {
    expect(error).toMatchObject({ code: expect.any(Number) as number });
  } finally {
    snapshots.close();
  }
}

async function step(
  snapshots: Snapshots,
  name: string,
  { present, absent }: Answered,
): Promise<void> {
  const key = `${name}-active`;
  await snapshots.prepare(key);
  await snapshots.commit(name, key);
  absent.add(key);
  present.set(name, Kind.COMMITTED);
  const child = `${name}-child`;
  await snapshots.prepare(child, name);
  await snapshots.remove(child);
  absent.add(child);
}

async function check(root: string, address: string, { present, absent }: Answered): Promise<void> {
  const server = await serveSnapshotter({ root, address, lazy: undefined, log: silentLogger });
  const snapshots = connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
  try {
    const infos = await snapshots.list();
    const kinds = new Map(infos.map(({ name, kind }) => [name, kind]));
    for (const [name, kind] of present) expect([name, kinds.get(name)]).toEqual([name, kind]);
    for (const name of absent) expect(kinds.has(name)).toBe(false);
    expect(await readdir(join(root, 'snapshots'))).toHaveLength(infos.length);
  } finally {
    snapshots.close();
    await server.close();
  }
}
