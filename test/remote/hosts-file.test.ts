import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type HostConfig, findHosts } from '#src/remote/hosts-file.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { failureOf } from './helpers.js';

/** What `files` of a hosts folder say of `host`. */
async function hostsOf(
  host: string,
  files: Record<string, string>,
  plainHttp = false,
): Promise<HostConfig[]> {
  await using folder = await temporaryFolder();
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder.path, name)), { recursive: true });
    await writeFile(join(folder.path, name), text);
  }
  return await findHosts(host, { hostsDirs: [join(folder.path, 'none'), folder.path], plainHttp });
}

const urls = (hosts: HostConfig[]): string[] => hosts.map(({ base }) => base.href);

describe('findHosts', () => {
  test('without a file there is the registry alone', async () => {
    expect(urls(await hostsOf('docker.io', {}))).toEqual(['https://registry-1.docker.io/v2/']);
    expect(urls(await hostsOf('a.example:5000', {}, true))).toEqual(['http://a.example:5000/v2/']);
  });

  test('hosts come in the order of the file, the server last', async () => {
    const hosts = await hostsOf('a.example', {
      'a.example/hosts.toml': `
        server = "https://b.example"
        capabilities = ["resolve"]
        [host."https://m1.example"]
          capabilities = ["PULL", "Resolve", "referrers"]
        [host."m2.example:5000"]
        [host."http://m3.example/cache"]
        [host."https://m4.example/v2/proxy"]
          override_path = true
        [host."127.0.0.1:5000"]`,
    });
    expect(urls(hosts)).toEqual([
      'https://m1.example/v2/',
      'https://m2.example:5000/v2/',
      'http://m3.example/cache/v2/',
      'https://m4.example/v2/proxy/',
      'https://127.0.0.1:5000/v2/',
      'https://b.example/v2/',
    ]);
    expect(hosts.map(({ capabilities }) => [...capabilities].join())).toEqual([
      'pull,resolve',
      'pull,resolve,push',
      'pull,resolve,push',
      'pull,resolve,push',
      'pull,resolve,push',
      'resolve',
    ]);
  });

  test('what is said of the registry without naming it changes neither its path nor what it is for', async () => {
    const text = 'capabilities = ["pull"]\noverride_path = true\nskip_verify = true';
    const [host] = await hostsOf('a.example', { 'a.example/hosts.toml': text });
    expect(host?.base.href).toBe('https://a.example/v2/');
    expect([...(host?.capabilities ?? [])]).toEqual(['pull', 'resolve', 'push']);
    expect(host?.tls.verify).toBe(false);
  });

  test('certificates, keys and headers', async () => {
    const [host, server] = await hostsOf('a.example', {
      'a.example/hosts.toml': `
        ca = "own.pem"
        [host."https://m.example"]
          ca = ["one.pem", "two.pem"]
          client = [["c.pem", "k.pem"], ["both.pem"]]
          skip_verify = true
          [host."https://m.example".header]
            X-Single = "a"
            X-Many = ["b", "c"]`,
      ...Object.fromEntries(
        ['own', 'one', 'two', 'c', 'k', 'both'].map((name) => [`a.example/${name}.pem`, name]),
      ),
    });
    expect(host?.tls).toEqual({
      verify: false,
      authorities: ['one', 'two'],
      clients: [
        { cert: 'c', key: 'k' },
        { cert: 'both', key: 'both' },
      ],
    });
    expect(host?.headers).toEqual({ 'x-single': 'a', 'x-many': 'b, c' });
    expect(server?.tls).toEqual({ verify: true, authorities: ['own'], clients: [] });
  });

  test('without hosts.toml a folder holds certificates as docker has them', async () => {
    const [host] = await hostsOf('a.example', {
      'a.example/ca.crt': 'authority',
      'a.example/me.cert': 'certificate',
      'a.example/me.key': 'key',
    });
    expect(host?.tls).toEqual({
      verify: true,
      authorities: ['authority'],
      clients: [{ cert: 'certificate', key: 'key' }],
    });
  });

  test('an empty hosts.toml, a certificate that holds its key, and folders among them', async () => {
    const [host] = await hostsOf('a.example', {
      'a.example/hosts.toml': '',
      'a.example/ca.crt': 'authority',
      'a.example/both.cert': 'both',
      'a.example/old.crt/none': '',
    });
    expect(host?.tls).toEqual({
      verify: true,
      authorities: ['authority'],
      clients: [{ cert: 'both', key: 'both' }],
    });
  });

  test.each(['a.example:5000', 'a.example_5000_'])('a port in a folder: %s', async (name) => {
    const hosts = await hostsOf('a.example:5000', {
      [`${name}/hosts.toml`]: '[host."https://m.example"]',
      '_default/hosts.toml': '[host."https://default.example"]',
    });
    expect(urls(hosts)[0]).toBe('https://m.example/v2/');
  });

  test('_default is for every host without a folder', async () => {
    const files = { '_default/hosts.toml': '[host."https://m.example"]' };
    expect(urls(await hostsOf('any.example', files))).toEqual([
      'https://m.example/v2/',
      'https://any.example/v2/',
    ]);
  });

  test.each([
    ['[host', 'invalid', 'hosts.toml'],
    ['skip_verify = 1', 'invalid', 'skip_verify'],
    ['[host."https://"]', 'invalid', "no host's URL"],
    ['ca = "missing.pem"', 'permission', 'missing.pem'],
  ])('%j is told', async (text, code, words) => {
    const error = await failureOf(hostsOf('a.example', { 'a.example/hosts.toml': text }));
    expect(error).toMatchObject({ code });
    expect(error.message).toContain(words);
  });

  test("a user in a host's URL is not shown", async () => {
    const text = 'server = "https://me:hush@"';
    const error = await failureOf(hostsOf('a.example', { 'a.example/hosts.toml': text }));
    expect(error.message).toContain("no host's URL");
    expect(error.message).not.toContain('hush');
  });

  test('a header of a malformed file is not shown', async () => {
    const text = '[host."https://m.example".header]\nauthorization = "Bearer hush" oops';
    const error = await failureOf(hostsOf('a.example', { 'a.example/hosts.toml': text }));
    expect(`${error.message} ${String(error.cause)}`).not.toContain('hush');
  });
});
