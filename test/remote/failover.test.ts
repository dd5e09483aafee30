import { expect, test } from 'vitest';
import { SiphonError } from '#src/common/errors.js';
import { eachHost } from '#src/remote/failover.js';
import { RemoteError } from '#src/remote/remote-error.js';

const { signal } = new AbortController();

/** What comes of two hosts that fail. */
async function failing(mirror: Error, registry: Error): Promise<unknown> {
  const hosts = [{ name: 'mirror.test' }, { name: 'registry.test' }];
  const attempt = (host: { name: string }): Promise<never> =>
    Promise.reject(host.name === 'mirror.test' ? mirror : registry);
  return eachHost(hosts, { task: 'try', signal }, attempt).catch((error: unknown) => error);
}

test('a mirror that is away hides neither what is not there nor what cannot be done', async () => {
  const away = new RemoteError('unavailable', 'away');
  for (const code of ['not-found', 'unsupported'] as const) {
    const final = new SiphonError(code, 'so it is');
    expect(await failing(away, final)).toBe(final);
  }
  expect(await failing(away, new RemoteError('unauthorized', 'no'))).toBe(away);
  expect(await failing(new RemoteError('unsupported', 'no ranges'), away)).toBe(away);
});
