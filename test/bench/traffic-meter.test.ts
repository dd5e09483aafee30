import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TrafficMeter, startTrafficMeter } from '../../bench/meters/traffic-meter.js';
import { type Gate, closedGate } from '../support/gate.js';

const MIB = 1 << 20;
const digest = `sha256:${'a'.repeat(64)}`;
const path = `/v2/app/blobs/${digest}`;
const blob = randomBytes(5 * MIB);
const slowness = 200; // ms

/** Knows one blob, whole, by range and slowly; everything else is not there. */
const registry = createServer((asked, answer) => {
  if (asked.url === `${path}?slow`) return void sendSlowly(answer);
  if (asked.url !== path) return answer.writeHead(404).end('nothing');
  const range = /^bytes=(\d+)-(\d+)$/.exec(asked.headers.range ?? '');
  if (range === null) return answer.end(asked.method === 'HEAD' ? undefined : blob);
  const [first, last] = range.slice(1).map(Number);
  answer.writeHead(206, { 'content-range': `bytes ${first}-${last}/${blob.length}` });
  return answer.end(blob.subarray(first, last! + 1));
});
let meter: TrafficMeter;
/** Closed while a slow answer is to stand still after its first part. */
let goOn: Gate;

async function sendSlowly(answer: ServerResponse): Promise<void> {
  answer.write(blob.subarray(0, 1000));
  await goOn.opened;
  await sleep(slowness);
  answer.end(blob.subarray(1000, 2000));
}

beforeAll(async () => {
  registry.listen(0, '127.0.0.1');
  await once(registry, 'listening');
  meter = await startTrafficMeter(`127.0.0.1:${(registry.address() as AddressInfo).port}`);
});

afterAll(async () => {
  await meter[Symbol.asyncDispose]();
  registry.closeAllConnections();
  registry.close();
});

async function get(url: string, headers: Record<string, string> = {}): Promise<Buffer> {
  const answer = await fetch(`http://${meter.host}${url}`, { headers });
  return Buffer.from(await answer.arrayBuffer());
}

async function firstPartPassed(): Promise<void> {
  await expect.poll(() => meter.read().bytes).toBe(1000);
}

test('counts the bytes of a blob, and passes them on as they are', async () => {
  meter.start();
  expect((await get(path)).equals(blob)).toBe(true);
  const { requests, bytes } = meter.read();
  expect({ requests, bytes }).toEqual({ requests: 1, bytes: blob.length });
});

test('counts requests, errors and bodiless ones among them', async () => {
  meter.start();
  await fetch(`http://${meter.host}${path}`, { method: 'HEAD' });
  await get('/v2/app/manifests/latest');
  await get(path, { range: 'bytes=10-109' });
  const { requests, bytes, log } = meter.read();
  expect({ requests, bytes }).toEqual({ requests: 3, bytes: 'nothing'.length + 100 });
  expect(log.map(({ method, status }) => `${method} ${status}`)).toEqual([
    'HEAD 200',
    'GET 404',
    'GET 206',
  ]);
});

test('notes where in the blob a range lies', async () => {
  meter.start();
  await get(path, { range: 'bytes=1000-1999' });
  await get(path, { range: 'bytes=0-9' });
  expect(meter.read().pieces).toMatchObject([
    { digest, offset: 1000, length: 1000 },
    { digest, offset: 0, length: 10 },
  ]);
});

test('covers a long body with pieces, without gap or overlap', async () => {
  meter.start();
  await get(path);
  const { pieces } = meter.read();
  expect(pieces.length).toBeGreaterThan(3);
  let end = 0;
  for (const { offset, length } of pieces) {
    expect(offset).toBe(end);
    end += length;
  }
  expect(end).toBe(blob.length);
});

test('tells when bytes went through', async () => {
  meter.start();
  goOn = closedGate();
  const slow = get(`${path}?slow`);
  await firstPartPassed();
  goOn.open();
  await slow;
  const { pieces, log } = meter.read();
  expect(pieces).toHaveLength(2);
  expect(pieces[1]!.endMs - pieces[0]!.endMs).toBeGreaterThan(slowness * 0.95);
  expect(log[0]!.endMs - log[0]!.startMs).toBeGreaterThan(slowness * 0.95);
});

test('counts from the given begin, and forgets what was before', async () => {
  meter.start();
  await get(path);
  meter.start(performance.now() - 10_000);
  await get('/v2/');
  const { requests, log } = meter.read();
  expect(requests).toBe(1);
  expect(log[0]!.startMs).toBeGreaterThanOrEqual(10_000);
});

test('leaves out what was asked for before the measurement, even if it is answered within', async () => {
  meter.start();
  goOn = closedGate();
  const slow = get(`${path}?slow`);
  await firstPartPassed();
  meter.start();
  goOn.open();
  await slow;
  expect(meter.read()).toMatchObject({ requests: 0, bytes: 0, pieces: [] });
});
