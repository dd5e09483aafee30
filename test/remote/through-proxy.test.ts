/** Requests by way of the proxies that the environment names, to hosts that only the proxies know. */

import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { type AddressInfo, type Socket, connect } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openHttpClient } from '#src/remote/http-exchange.js';
import { defaultTimeouts } from '#src/remote/policy.js';
import { createAuthority } from '../support/certificates.js';
import { startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { containing, failureOf, openRegistry, pushImage, randomBlob, signal } from './helpers.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

/** A proxy that takes every host for `target`, and notes what it is asked for. */
async function startProxy(target: string) {
  const [hostname = '', port = ''] = target.split(':');
  const seen: string[] = [];
  const server = createServer((asked, answer) => {
    const { method = '', url = '', headers } = asked;
    seen.push(`${method} ${new URL(url).host}`);
    const { pathname, search } = new URL(url);
    const onward = request({ hostname, port, method, path: pathname + search, headers });
    onward.once('response', (from) => {
      answer.writeHead(from.statusCode ?? 502, from.headers);
      from.pipe(answer);
    });
    asked.pipe(onward);
  });
  const sockets = new Set<Socket>();
  server.on('connect', (asked, client) => {
    seen.push(`CONNECT ${asked.url}`);
    const onward = connect(Number(port), hostname, () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      client.pipe(onward).pipe(client);
    });
    sockets.add(onward);
    for (const socket of [onward, client]) socket.on('error', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      server.close();
    },
  };
}

test('a password of a proxy that is not escaped is told without it', async () => {
  vi.stubEnv('HTTP_PROXY', 'http://me:100%25%@proxy.invalid:9');
  const client = openHttpClient(defaultTimeouts);
  try {
    const url = new URL('http://registry.invalid/v2/');
    const error = await failureOf(client.exchange({ method: 'GET', url, signal: signal() }));
    expect(error).toMatchObject({ code: 'usage', message: containing('"proxy.invalid:9"') });
    expect(error.message).not.toContain('100');
  } finally {
    await client.close();
  }
});

test.each(['http', 'https'])('a registry by %s is reached through its proxy', async (scheme) => {
  await using folder = await temporaryFolder();
  const authority = await createAuthority(folder.path);
  const certificates = await authority.issue('registry');
  const server = await startDockerRegistry(scheme === 'https' ? { tls: certificates } : {});
  const proxy = await startProxy(server.host);
  vi.stubEnv(`${scheme}_proxy`, proxy.url);
  await mkdir(join(folder.path, 'registry.test'));
  const hosts = `server = "${scheme}://registry.test"\nca = "${authority.certificate}"`;
  await writeFile(join(folder.path, 'registry.test/hosts.toml'), hosts);
  const registry = openRegistry('registry.test', { hostsDirs: [folder.path] });
  try {
    const layer = randomBlob(1000);
    await pushImage(registry, [layer], 'v1');
    expect((await registry.fetchBlob(layer.descriptor, signal())).equals(layer.bytes)).toBe(true);
    const expected = scheme === 'https' ? 'CONNECT registry.test:443' : 'GET registry.test';
    expect(proxy.seen).toContain(expected);
  } finally {
    await registry.close();
    proxy.close();
    await server.close();
  }
});
