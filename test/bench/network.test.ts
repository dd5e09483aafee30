import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Network, openNetwork } from '../../bench/meters/network.js';

const run = promisify(execFile);
const mbit = 80;
const body = Buffer.alloc(2_000_000, 'x');
/** The bucket lets this through at once, whatever the rate. */
const burst = 128 << 10;

const server = createServer((asked, answer) => {
  answer.end(asked.url === '/body' ? body : 'ok');
});
const root = process.getuid?.() === 0;
let port: number;
let network: Network;

describe.skipIf(!root)('a network', () => {
  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
    network = await openNetwork(mbit);
  });

  afterAll(async () => {
    await network?.[Symbol.asyncDispose]();
    server.closeAllConnections();
    server.close();
  });

  async function atFarEnd(...command: string[]): Promise<string> {
    const [program, ...args] = [...network.enter, ...command];
    return (await run(program, args, { maxBuffer: 1e7 })).stdout;
  }

  /** Seconds that each request took, all over one connection. */
  async function curl(...urls: string[]): Promise<number[]> {
    const options = ['-sf', '-o', '/dev/null', '-w', '%{time_total}\n'];
    const parts = urls.flatMap((url) => ['--next', ...options, url]);
    const stdout = await atFarEnd('curl', ...parts.slice(1));
    return stdout.trim().split('\n').map(Number);
  }

  test('takes a round trip for a request, and one more for a connection', async () => {
    await using link = await network.link(port, 120);
    const url = `http://${link.host}/`;
    const [first = 0, ...others] = await curl(...Array<string>(6).fill(url));
    expect(first).toBeGreaterThanOrEqual(0.24 * 0.98);
    // Of those that need no connection, the one that a busy machine kept waiting least.
    const least = Math.min(...others);
    expect(least).toBeGreaterThanOrEqual(0.12 * 0.98);
    expect(least).toBeLessThan(0.24 * 0.98);
  });

  test('lets through no more than its rate', async () => {
    await using link = await network.link(port, 0);
    const [time = 0] = await curl(`http://${link.host}/body`);
    expect(time).toBeGreaterThanOrEqual(((body.length - burst) * 8) / (mbit * 1e6));
  });

  test('brings every byte, whatever is held back', async () => {
    await using link = await network.link(port, 40);
    // A server that hangs up after it has said all is heard to the end, too.
    for (const connection of ['keep-alive', 'close']) {
      const header = ['-H', `connection: ${connection}`];
      const stdout = await atFarEnd('curl', '-sf', ...header, `http://${link.host}/body`);
      expect(stdout === body.toString(), connection).toBe(true);
    }
  });

  test('can be had twice at once, and is gone when it is closed', async () => {
    const second = await openNetwork(mbit);
    const { stdout } = await run('ip', ['netns', 'list']);
    const names = stdout.split('\n').map((line) => line.split(' ')[0] ?? '');
    const mine = [network, second].map((one) => one.enter[1]?.split('/').at(-1) ?? '');
    expect(names).toEqual(expect.arrayContaining(mine));
    await second[Symbol.asyncDispose]();
    expect((await run('ip', ['netns', 'list'])).stdout).not.toContain(mine[1]);
    await expect(run('ip', ['link', 'show', mine[1] ?? ''])).rejects.toThrow('does not exist');
  });
});
