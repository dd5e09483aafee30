import { expect, test } from 'vitest';
import { Authenticator } from '#src/remote/authenticator.js';
import { anonymous } from '#src/remote/credentials.js';
import { openHttpClient } from '#src/remote/http-exchange.js';
import { defaultRetry, defaultTimeouts } from '#src/remote/policy.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { signal } from './helpers.js';

test('requests at once that are asked for different scopes get a token each', async () => {
  const server = await startScriptedServer(({ url = '', headers }, response) => {
    const { origin } = server;
    const asked = new URL(url, origin);
    if (asked.pathname === '/token') {
      const token = `token-for-${asked.searchParams.get('scope')}`;
      // Later than both requests were refused.
      setTimeout(() => response.end(JSON.stringify({ token })), 300);
      return;
    }
    const scope = asked.pathname.slice(1);
    const isIn = headers.authorization === `Bearer token-for-${scope}`;
    const challenge = `Bearer realm="${origin}/token",scope="${scope}"`;
    response.writeHead(isIn ? 200 : 401, { 'www-authenticate': challenge }).end();
  });
  const client = openHttpClient(defaultTimeouts);
  const { exchange } = client;
  const policy = { timeouts: defaultTimeouts, retry: defaultRetry, now: () => performance.now() };
  const place = { host: server.host, repository: 'app', origin: server.origin };
  const login = new Authenticator({ ...place, ...policy, credentials: anonymous, exchange });
  const ask = login.wrap(exchange, 'pull');
  try {
    const statuses = ['one', 'other'].map(async (scope) => {
      const url = new URL(scope, server.origin);
      const response = await ask({ method: 'GET', url, signal: signal() });
      response.discard();
      return response.status;
    });
    expect(await Promise.all(statuses)).toEqual([200, 200]);
  } finally {
    await client.close();
    await server.close();
  }
});
