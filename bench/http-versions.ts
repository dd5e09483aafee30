/**
 * Whether a registry is better asked by HTTP/2 than by HTTP/1.1: both over TLS, by undici, on the same link.
 *
 *     npm run build && node dist/bench/http-versions.js [--round-trips 10,100] [--mbit 100] [--rounds 3]
 *
 * The link is that of `meters/network.ts`, the server Node's own, which speaks both. In turns, each on new
 * connections: a first request for a byte, handshakes included; ranges of 256 KiB one after the other; and as
 * many at once as siphon asks of a host, small ones and large ones. The least time of the rounds, in ms.
 * Needs root, openssl, iproute2 and util-linux.
 */

import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { Pool } from 'undici';
import { defaultQueueLimits } from '#src/remote/fetch-queue.js';
import { singleBench } from './harness/single-bench.js';
import { openNetwork } from './meters/network.js';

const { values } = parseArgs({
  options: {
    'round-trips': { type: 'string', default: '10,100' },
    mbit: { type: 'string', default: '100' },
    rounds: { type: 'string', default: '3' },
    /** What runs at the far end: the server's origin, and how it is asked. */
    client: { type: 'string' },
    way: { type: 'string' },
  },
});

const KIB = 1024;
const blob = randomBytes(1024 * KIB);

/** Windows as large as the link takes at 100 ms, for HTTP/2's own are far smaller. */
const WINDOW = 8 * 1024 * KIB;
const ways: Readonly<Record<string, object>> = {
  'HTTP/1.1': {},
  'HTTP/2': { allowH2: true },
  'HTTP/2, wide windows': {
    allowH2: true,
    initialWindowSize: WINDOW,
    connectionWindowSize: 2 * WINDOW,
  },
};

interface Work {
  name: string;
  requests: number;
  bytes: number;
  atOnce: number;
}

const atOnce = defaultQueueLimits.requests;
const works: readonly Work[] = [
  { name: 'first byte', requests: 1, bytes: 1, atOnce: 1 },
  { name: '20 x 256 KiB in turn', requests: 20, bytes: 256 * KIB, atOnce: 1 },
  { name: `64 x 16 KiB, ${atOnce} at once`, requests: 64, bytes: 16 * KIB, atOnce },
  { name: `24 x 1 MiB, ${atOnce} at once`, requests: 24, bytes: 1024 * KIB, atOnce },
];

if (values.client === undefined) await singleBench(tmpdir(), measureAll);
else console.log(JSON.stringify(await measureOnce(values.client, ways[values.way ?? ''] ?? {})));

async function measureAll(folder: string, signal: AbortSignal): Promise<void> {
  const server = startServer(folder);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await using network = await openNetwork(Number(values.mbit));
  for (const roundTrip of values['round-trips'].split(',').map(Number)) {
    await using link = await network.link((server.address() as AddressInfo).port, roundTrip);
    console.log(`\n${roundTrip} ms, ${values.mbit} Mbit/s`);
    const best = new Map<string, number[]>();
    for (let round = 0; round < Number(values.rounds); round += 1) {
      for (const way of Object.keys(ways)) {
        signal.throwIfAborted();
        const times = await atFarEnd(network.enter, `https://${link.host}`, way);
        const before = best.get(way) ?? times;
        best.set(
          way,
          times.map((time, n) => Math.min(time, before[n] ?? time)),
        );
      }
    }
    console.log(['', ...works.map(({ name }) => name)].join(' | '));
    for (const [way, times] of best)
      console.log([way, ...times.map((time) => time.toFixed(0))].join(' | '));
  }
  server.close();
}

function startServer(folder: string) {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const files = ['-keyout', key, '-out', cert, '-subj', '/CN=siphon bench', '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...curve, ...files], { stdio: 'ignore' });
  const secrets = { key: readFileSync(key), cert: readFileSync(cert) };
  return createSecureServer({ ...secrets, allowHTTP1: true }, (request, response) => {
    const last = Number(/bytes=0-(\d+)/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const range = `bytes 0-${last}/${blob.length}`;
    response.writeHead(206, { 'content-range': range, 'content-length': last + 1 });
    response.end(blob.subarray(0, last + 1));
  });
}

async function atFarEnd(
  [program, ...words]: readonly [string, ...string[]],
  origin: string,
  way: string,
): Promise<number[]> {
  const own = [fileURLToPath(import.meta.url), '--client', origin, '--way', way];
  const { stdout } = await promisify(execFile)(program, [...words, process.execPath, ...own]);
  return JSON.parse(stdout) as number[]; // its own words
}

/** Milliseconds of each work; the connections of one serve those after it. */
async function measureOnce(origin: string, options: object): Promise<number[]> {
  const connect = { rejectUnauthorized: false };
  const pool = new Pool(origin, { connections: atOnce, connect, allowH2: false, ...options });
  const times: number[] = [];
  for (const work of works) {
    const start = performance.now();
    let left = work.requests;
    const worker = async (): Promise<void> => {
      for (; left > 0;) {
        left -= 1;
        await fetchRange(pool, work.bytes);
      }
    };
    await Promise.all(Array.from({ length: work.atOnce }, worker));
    times.push(performance.now() - start);
  }
  await pool.destroy();
  return times;
}

async function fetchRange(pool: Pool, bytes: number): Promise<void> {
  const headers = { range: `bytes=0-${bytes - 1}` };
  const { body } = await pool.request({ path: '/blob', method: 'GET', headers });
  let size = 0;
  for await (const chunk of body) size += (chunk as Buffer).length; // no encoding is set
  if (size !== bytes) throw new Error(`Cannot measure: ${size} bytes came instead of ${bytes}`);
}
