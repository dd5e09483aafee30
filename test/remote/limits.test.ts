/** What comes from a host is bounded, in bytes and in connections, and counted. */

import type { RequestListener } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { parseChallenges } from '#src/remote/auth-challenge.js';
import { mediaTypes } from '#src/remote/descriptor.js';
import { requestsIn, trafficByHost } from '#src/remote/traffic.js';
import { startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { failureOf, impatient, openRegistry, randomBlob, signal } from './helpers.js';

/** JSON that goes on for as long as somebody reads. */
function endless(head: string, type: string): RequestListener {
  return (_, response) => {
    response.writeHead(200, { 'content-type': type });
    response.write(head);
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
    };
    response.on('drain', more);
    more();
  };
}

test('a token, a list of referrers and an error without an end are given up', async () => {
  const tokens = await startScriptedServer(endless('{"token":"', 'application/json'));
  const server = await startScriptedServer((request, response) => {
    const { url = '' } = request;
    if (url.includes('/referrers/')) {
      return endless('{"schemaVersion":2,"manifests":[', mediaTypes.ociIndex)(request, response);
    }
    if (url.includes('error/')) {
      response.statusCode = 418;
      response.write('{"errors":[{"message":"');
      const timer = setInterval(() => response.write('y'.repeat(10_000)), 1);
      return response.once('close', () => clearInterval(timer));
    }
    const challenge = `Bearer realm="${tokens.origin}/token"`;
    return response.writeHead(401, { 'www-authenticate': challenge }).end();
  });
  const registry = openRegistry(server.host, impatient);
  try {
    const subject = randomBlob(3).descriptor.digest;
    await expect(registry.fetchManifest({ tag: 'x' }, signal())).rejects.toMatchObject({
      code: 'invalid',
      message: 'Cannot read token: it is too long, expected at most 262144 bytes',
    });
    await expect(registry.referrers(subject, undefined, signal())).rejects.toMatchObject({
      code: 'invalid',
    });
    const error = await failureOf(registry.fetchManifest({ tag: 'error/' }, signal()));
    expect(error.message.length).toBeLessThan(500);
  } finally {
    await registry.close();
    await Promise.all([server.close(), tokens.close()]);
  }
});

test('headers of spaces take no time to speak of', () => {
  expect(parseChallenges(`Basic realm=x${' '.repeat(1_000_000)}\u0001`)).toHaveLength(1);
});

test('connections serve requests that follow one another, also after a while', async () => {
  const server = await startDockerRegistry();
  let connections = 0;
  const front = createServer((near) => {
    connections += 1;
    const far = connect(Number(server.host.split(':')[1]), '127.0.0.1');
    for (const socket of [near, far]) socket.on('error', () => socket.destroy());
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  const registry = openRegistry(`127.0.0.1:${(front.address() as AddressInfo).port}`);
  const { bytes, descriptor } = randomBlob(100);
  try {
    await registry.pushBlob(descriptor, bytes, signal());
    const source = registry.blobSource(descriptor);
    // Uploading may have taken a second one while the rest of an answer was on its way.
    const opened = connections;
    expect(opened).toBeLessThan(3);
    for (let n = 0; n < 20; n += 1) await source.read(5, 5, signal());
    expect(await registry.hasBlob(descriptor, signal())).toBe(true);
    await delay(6000);
    await source.read(5, 5, signal());
    expect(connections).toBe(opened);
  } finally {
    await registry.close();
    front.close();
    await server.close();
  }
}, 20_000);

test('requests, answers and bytes are counted host by host', async () => {
  const { bytes, descriptor } = randomBlob(100);
  const store = await startScriptedServer((_, response) => {
    response.writeHead(206, { 'content-range': 'bytes 0-9/100' }).end(bytes.subarray(0, 10));
  });
  const server = await startScriptedServer((_, response) => {
    response.writeHead(307, { location: `${store.origin}/blob` }).end();
  });
  const registry = openRegistry(server.host, impatient);
  const source = registry.blobSource(descriptor);
  for (let n = 0; n < 3; n += 1) await source.read(0, 10, signal());
  await store.close();
  await failureOf(source.read(0, 10, signal()));
  await registry.close();
  await server.close();
  const [front, behind] = [server, store].map(({ host }) => trafficByHost().get(host));
  expect(front?.requests.get('3xx')).toBeGreaterThan(1);
  expect(front?.receivedBytes).toBe(0);
  expect(behind?.requests.get('2xx')).toBe(3);
  expect(behind?.requests.get('none')).toBeGreaterThan(0);
  expect(behind?.receivedBytes).toBe(30);
  const timed = behind?.times.reduce((sum, one) => sum + one, 0);
  expect(timed).toBe(3);
  expect(behind === undefined ? 0 : requestsIn(behind)).toBeGreaterThan(3);
});
