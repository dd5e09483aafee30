import { expect, test } from 'vitest';
import { withoutSecrets } from '#src/common/secrets.js';
import { openHttpClient } from '#src/remote/http-exchange.js';
import { defaultTimeouts } from '#src/remote/policy.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { signal } from './helpers.js';

test('of the headers that are sent, those are secrets that look like one', async () => {
  const server = await startScriptedServer((_, response) => response.end());
  const client = openHttpClient(defaultTimeouts);
  const headers = {
    'x-region': 'eu-central-12',
    'x-api-key': 'key-9.of',
    'x-any': 'sixteen-or-more.',
    accept: 'application/vnd.of.something+json',
  };
  try {
    const url = new URL(server.origin);
    const response = await client.exchange({ method: 'GET', url, headers, signal: signal() });
    response.discard();
    const shown = { ...headers, 'x-api-key': '…', 'x-any': '…' };
    const told = Object.entries(headers).map(([name, text]) => [name, withoutSecrets(text)]);
    expect(Object.fromEntries(told)).toEqual(shown);
  } finally {
    await client.close();
    await server.close();
  }
});
