import { expect, test } from 'vitest';
import { proxyFor } from '#src/remote/proxy.js';

const proxies = { HTTPS_PROXY: 'http://secure:3128', http_proxy: 'plain:8080' };
const through = (url: string, environment: NodeJS.ProcessEnv): string | undefined =>
  proxyFor(new URL(url), environment)?.host;

test('each scheme has its proxy, in capitals or not', () => {
  expect(through('https://a.example/', proxies)).toBe('secure:3128');
  expect(through('http://a.example/', proxies)).toBe('plain:8080');
  expect(through('http://a.example/', { HTTPS_PROXY: 'http://secure' })).toBeUndefined();
});

test.each(['http://localhost:5000/', 'http://127.1.2.3/', 'https://[::1]/'])(
  '%s is never asked by way of a proxy',
  (url) => expect(through(url, { ...proxies, HTTP_PROXY: 'plain' })).toBeUndefined(),
);

test.each([
  ['https://a.example/', '*', true],
  ['https://a.example/', 'b.example,a.example', true],
  ['https://sub.a.example/', 'A.example', true],
  ['https://nota.example/', 'a.example', false],
  ['https://a.example/', '.a.example', false],
  ['https://sub.a.example/', '.a.example', true],
  ['https://sub.a.example/', '*.a.example', true],
  ['https://a.example/', 'a.example:443', true],
  ['https://a.example:444/', 'a.example:443', false],
  ['https://10.1.2.3/', '10.0.0.0/8', true],
  ['https://11.1.2.3/', '10.0.0.0/8', false],
  ['https://10.1.2.3/', '10.1.2.3', true],
  ['https://[fd00::1]/', 'fd00::/8', true],
  ['https://[fd00::1]/', 'fd00::1', true],
  ['https://a.example/', '10.0.0.0/99', false],
])('%s with NO_PROXY=%s: straight is %s', (url, list, isStraight) => {
  expect(through(url, { ...proxies, no_proxy: list }) === undefined).toBe(isStraight);
});

test('what is no proxy is told without its password', () => {
  const environment = { HTTPS_PROXY: 'socks5://me:hush@proxy' };
  expect(() => through('https://a.example/', environment)).toThrow(
    'Cannot use HTTPS_PROXY: it is malformed, expected http(s)://HOST:PORT',
  );
});
