/** What token services leave out, and what they write for nothing. */

import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { CredentialSource } from '#src/remote/credentials.js';
import { openHttpClient } from '#src/remote/http-exchange.js';
import { defaultTimeouts } from '#src/remote/policy.js';
import { fetchToken } from '#src/remote/token.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { openRegistry, signal } from './helpers.js';

const manifest = JSON.stringify({ mediaType: 'application/vnd.oci.image.index.v1+json' });
const before = (seconds: number): string => new Date(Date.now() - seconds * 1000).toISOString();

/** @returns how many tokens two reads of a manifest, a moment apart, took */
async function tokensFor(answer: object): Promise<number> {
  const tokens = await startScriptedServer((_, response) => response.end(JSON.stringify(answer)));
  const registry = await startScriptedServer((request, response) => {
    if (request.headers.authorization === 'Bearer granted') response.end(manifest);
    else response.writeHead(401, { 'www-authenticate': `Bearer realm="${tokens.origin}"` }).end();
  });
  const client = openRegistry(registry.host);
  try {
    await client.fetchManifest({ tag: 'x' }, signal());
    await delay(100);
    await client.fetchManifest({ tag: 'x' }, signal());
    return tokens.requests.length;
  } finally {
    await client.close();
    await Promise.all([tokens.close(), registry.close()]);
  }
}

test.each([
  [{ token: 'granted' }, 1],
  [{ token: null, access_token: 'granted', expires_in: null }, 1],
  [{ token: '', access_token: 'granted', expires_in: 0 }, 1],
  [{ token: 'granted', access_token: 'other', expires_in: -5 }, 1],
  [{ token: 'granted', expires_in: '300', issued_at: null }, 1],
  [{ token: 'granted', expires_in: 'soon', issued_at: 'long ago' }, 1],
  [{ token: 'granted', expires_in: 1e300 }, 1],
  [{ token: 'granted', expires_in: [], issued_at: 5, refresh_token: {} }, 1],
  // A clock far off says nothing of the token.
  [{ token: 'granted', expires_in: 300, issued_at: before(100_000) }, 1],
  [{ token: 'granted', expires_in: 300, issued_at: before(-100_000) }, 1],
  [{ token: 'granted', expires_in: 0.05 }, 2],
])('%j is good for two requests with %d of them', async (answer, count) => {
  expect(await tokensFor(answer)).toBe(count);
});

test('one that was issued before is good for what is left of it, by the clock of its service', async () => {
  const hours = 10 * 3600;
  const service = await startScriptedServer((_, response) => {
    response.setHeader('date', new Date(Date.now() + hours * 1000).toUTCString());
    response.end(JSON.stringify({ token: 'x', expires_in: 300, issued_at: before(100 - hours) }));
  });
  const client = openHttpClient(defaultTimeouts);
  try {
    const realm = new URL(service.origin);
    const request = { realm, service: undefined, scope: 'a', credentials: undefined };
    const { lifetime } = await fetchToken(client.exchange, request, signal());
    expect(lifetime).toBeGreaterThan(195_000);
    expect(lifetime).toBeLessThan(205_000);
  } finally {
    await client.close();
    await service.close();
  }
});

test('an answer without a token is told, without what it says', async () => {
  await expect(tokensFor({ token: '', refresh_token: 'hush' })).rejects.toMatchObject({
    code: 'invalid',
    message: expect.not.stringContaining('hush') as unknown,
  });
});

/** A registry that takes one password of several; `status` for the others. */
async function withPassword(
  status: 401 | 403,
  run: (host: string, accept: (password: string) => void, asked: string[]) => Promise<void>,
): Promise<void> {
  let good = '';
  const asked: string[] = [];
  const server = await startScriptedServer((request, response) => {
    const { authorization = '' } = request.headers;
    const pair = Buffer.from(authorization.slice('Basic '.length), 'base64').toString();
    asked.push(pair);
    if (pair === `me:${good}`) response.end(manifest);
    else if (authorization === '' || status === 401)
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    else response.writeHead(status).end();
  });
  try {
    await run(server.host, (password) => (good = password), asked);
  } finally {
    await server.close();
  }
}

test.each([401, 403] as const)(
  'where one login is refused with %d the next is tried, and then held on to',
  async (status) => {
    await withPassword(status, async (host, accept, asked) => {
      const all = ['one', 'two', 'three'].map((password) => ({ username: 'me', password }));
      const credentials: CredentialSource = async (_host, _repository, refused = []) =>
        all.find(({ password }) => !refused.some((other) => other.password === password));
      const client = openRegistry(host, { credentials });
      const read = () => client.fetchManifest({ tag: 'x' }, signal());
      accept('two');
      await read();
      await read();
      expect(asked).toEqual(['', 'me:one', 'me:two', 'me:two']);
      accept('three');
      await read();
      expect(asked.slice(4)).toEqual(['me:two', 'me:one', 'me:three']);
      accept('four');
      await expect(read()).rejects.toMatchObject({ code: 'unauthorized' });
      expect(asked).toHaveLength(10);
      await client.close();
    });
  },
);

test.each([401, 403] as const)('a password that was changed is used after %d', async (status) => {
  await withPassword(status, async (host, accept) => {
    let password = 'old';
    const client = openRegistry(host, { credentials: async () => ({ username: 'me', password }) });
    accept('old');
    await client.fetchManifest({ tag: 'x' }, signal());
    accept('new');
    password = 'new';
    await client.fetchManifest({ tag: 'x' }, signal());
    await client.close();
  });
});

test('where the token service refuses one login the next is tried', async () => {
  const tokens = await startScriptedServer((request, response) => {
    const good = Buffer.from('me:two').toString('base64');
    if (request.headers.authorization !== `Basic ${good}`) response.writeHead(401).end();
    else response.end(JSON.stringify({ token: 'granted' }));
  });
  const server = await startScriptedServer((request, response) => {
    if (request.headers.authorization === 'Bearer granted') response.end(manifest);
    else response.writeHead(401, { 'www-authenticate': `Bearer realm="${tokens.origin}"` }).end();
  });
  const all = ['one', 'two'].map((password) => ({ username: 'me', password }));
  const credentials: CredentialSource = async (_host, _repository, refused = []) =>
    all[refused.length];
  const client = openRegistry(server.host, { credentials });
  try {
    await client.fetchManifest({ tag: 'x' }, signal());
    expect(tokens.requests).toHaveLength(2);
  } finally {
    await client.close();
    await Promise.all([tokens.close(), server.close()]);
  }
});
