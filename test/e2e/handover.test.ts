/**
 * Who asks `siphon serve` while one server follows another: the socket listens throughout, so nobody is
 * refused, and an upgrade loses no call. A server that is killed loses those that it was at.
 */

import { status } from '@grpc/grpc-js';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { fuseMissing } from '../support/served-folders.js';
import { openSandbox } from '../support/sandbox.js';
import { until } from '../support/until.js';
import { connectSnapshots } from '../support/snapshots-client.js';

const missing = fuseMissing();
const changes = 8; // or more, until two servers were hit
const period = 500; // ms

/** The keeper's server, or `undefined` between two. */
async function serverOf({ pid }: SiphonService): Promise<number | undefined> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  for (const child of children.split(' ').filter(Boolean).map(Number)) {
    const command = await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '');
    if (command.includes('bin/siphon')) return child;
  }
  return undefined;
}

/** Connects again and again until `done`. @returns what went wrong */
async function knock(address: string, done: AbortSignal): Promise<unknown[]> {
  const refusals: unknown[] = [];
  while (!done.aborted) {
    const failure = await new Promise((resolve) => {
      const socket = connect(address, () => resolve(undefined));
      socket.once('error', resolve).once('connect', () => socket.destroy());
    });
    if (failure !== undefined) refusals.push(failure);
    await delay(20);
  }
  return refusals;
}

interface Calls {
  answered: number;
  failures: { code?: number }[];
}

/** Calls over one connection, or over a new one each time, until `done`. */
async function call(
  calls: Calls,
  { address, fresh, done }: { address: string; fresh: boolean; done: AbortSignal },
): Promise<void> {
  const open = (): ReturnType<typeof connectSnapshots> =>
    connectSnapshots({ address, snapshotter: 'siphon', namespace: 'test' });
  let client = open();
  for (let n = 0; !done.aborted; n += 1) {
    try {
      await client.prepare(`${fresh}-${n}`);
      await client.remove(`${fresh}-${n}`);
      calls.answered += 1;
    } catch (error) {
      calls.failures.push(error as { code?: number }); // grpc's
    }
    if (!fresh) continue;
    client.close();
    client = open();
  }
  client.close();
}

it.skipIf(missing !== undefined).each(['SIGUSR2', 'SIGKILL'] as const)(
  `nobody is refused while servers get %s (${missing ?? 'with clients that call all the time'})`,
  async (signal) => {
    await using sandbox = await openSandbox();
    const siphon = await startSiphonService(sandbox);
    const { address } = siphon;
    const done = new AbortController();
    const calls = [false, true].map((fresh) => ({ fresh, answered: 0, failures: [] }));
    const knocking = knock(address, done.signal);
    const calling = calls.map((one) => call(one, { address, fresh: one.fresh, done: done.signal }));
    const hit = new Set<number>();
    try {
      for (let change = 0; change < changes || hit.size < 2; change += 1) {
        const server = await serverOf(siphon);
        if (server !== undefined) {
          hit.add(server);
          process.kill(signal === 'SIGKILL' ? server : siphon.pid, signal);
        }
        await delay(period);
      }
      // On a busy machine none of these servers may have come as far as to answer.
      await until(() => Promise.resolve(calls.every(({ answered }) => answered > 0)));
    } finally {
      done.abort();
      const refusals = await knocking;
      await Promise.all(calling);
      const exitCode = await siphon.stop();
      expect(refusals).toEqual([]);
      for (const { failures } of calls) {
        // A call whose server died while it was at it has no other fault.
        if (signal === 'SIGUSR2') expect(failures).toEqual([]);
        for (const { code } of failures)
          expect([status.UNAVAILABLE, status.ALREADY_EXISTS]).toContain(code);
      }
      expect(exitCode).toBe(0);
    }
  },
  60_000,
);
