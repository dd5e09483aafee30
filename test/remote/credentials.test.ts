import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { askHelper } from '#src/remote/credential-helper.js';
import { authKeys, storedCredentials } from '#src/remote/credentials.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { failureOf } from './helpers.js';

const encode = (text: string) => Buffer.from(text).toString('base64');

async function fileWith(folder: string, content: unknown): Promise<string> {
  const path = join(folder, 'auth.json');
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

describe('storedCredentials', () => {
  test('finds the most specific entry', async () => {
    await using folder = await temporaryFolder();
    const path = await fileWith(folder.path, {
      auths: {
        'r.example': { auth: encode('host:1') },
        'r.example/team': { auth: encode('team:a:b') },
        'https://plain.example': { username: 'u', password: 'p' },
        'https://index.docker.io/v1/': { auth: encode('hub:2'), identitytoken: 'refresh' },
      },
    });
    const find = storedCredentials({ REGISTRY_AUTH_FILE: path });
    expect(await find('r.example', 'team/app')).toEqual({ username: 'team', password: 'a:b' });
    expect(await find('r.example', 'other/app')).toEqual({ username: 'host', password: '1' });
    expect(await find('plain.example', 'x')).toEqual({ username: 'u', password: 'p' });
    expect(await find('docker.io', 'library/x')).toMatchObject({ identityToken: 'refresh' });
    expect(await find('unknown.example', 'x')).toBeUndefined();
  });

  test('looks in DOCKER_CONFIG, and before it in XDG_RUNTIME_DIR', async () => {
    await using folder = await temporaryFolder();
    const entry = (name: string) => ({ auths: { 'r.example': { auth: encode(`${name}:x`) } } });
    await writeFile(join(folder.path, 'config.json'), JSON.stringify(entry('docker')));
    const find = storedCredentials({ DOCKER_CONFIG: folder.path, XDG_RUNTIME_DIR: folder.path });
    expect(await find('r.example', 'a')).toMatchObject({ username: 'docker' });
    await mkdir(join(folder.path, 'containers'));
    await writeFile(join(folder.path, 'containers/auth.json'), JSON.stringify(entry('podman')));
    expect(await find('r.example', 'a')).toMatchObject({ username: 'podman' });
  });

  test('falls back to the home folder, and to nothing', async () => {
    await using folder = await temporaryFolder();
    expect(await storedCredentials({ HOME: folder.path })('r.example', 'a')).toBeUndefined();
  });

  test('asks the credential helper that the file names', async () => {
    await using folder = await temporaryFolder();
    const helper = join(folder.path, 'docker-credential-test');
    await writeFile(
      helper,
      '#!/bin/sh\nread server\n[ "$server" = r.example ] || exit 1\necho \'{"Username":"h","Secret":"s"}\'\n',
    );
    await chmod(helper, 0o755);
    const path = await fileWith(folder.path, { credsStore: 'test' });
    const find = storedCredentials({
      REGISTRY_AUTH_FILE: path,
      PATH: `${folder.path}:${process.env['PATH']}`,
    });
    expect(await find('r.example', 'a')).toEqual({ username: 'h', password: 's' });
    expect(await find('other.example', 'a')).toBeUndefined();
  });

  test('a helper for the host comes before what an earlier login left, one for all after it', async () => {
    await using folder = await temporaryFolder();
    const helper = join(folder.path, 'docker-credential-test');
    await writeFile(helper, '#!/bin/sh\necho \'{"Username":"h","Secret":"s"}\'\n', { mode: 0o755 });
    const auths = { 'r.example': { auth: encode('stored:x') } };
    const PATH = `${folder.path}:${process.env['PATH']}`;
    const find = async (more: object) => {
      const path = await fileWith(folder.path, { auths, ...more });
      return storedCredentials({ REGISTRY_AUTH_FILE: path, PATH })('r.example', 'a');
    };
    expect(await find({ credHelpers: { 'r.example': 'test' } })).toMatchObject({ username: 'h' });
    expect(await find({ credHelpers: { 'r.example/a': 'test' } })).toMatchObject({ username: 'h' });
    expect(await find({ credsStore: 'test' })).toMatchObject({ username: 'stored' });
  });

  test('a helper that hangs is not waited for, nor what it has started', async () => {
    await using folder = await temporaryFolder();
    const helper = join(folder.path, 'docker-credential-test');
    await writeFile(helper, '#!/bin/sh\nsleep 5\n', { mode: 0o755 });
    const PATH = `${folder.path}:${process.env['PATH']}`;
    const asked = askHelper('test', 'r.example', { PATH }, 200);
    await expect(asked).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('a helper that does not stop talking is ended', async () => {
    await using folder = await temporaryFolder();
    const helper = join(folder.path, 'docker-credential-test');
    await writeFile(helper, '#!/bin/sh\nexec cat /dev/zero\n', { mode: 0o755 });
    const path = await fileWith(folder.path, { credsStore: 'test' });
    const PATH = `${folder.path}:${process.env['PATH']}`;
    const find = storedCredentials({ REGISTRY_AUTH_FILE: path, PATH });
    await expect(find('r.example', 'a')).rejects.toMatchObject({ code: 'invalid' });
  });

  test("a registry's own token is one too", async () => {
    await using folder = await temporaryFolder();
    const auths = { 'r.example': { registrytoken: 'own' } };
    const find = storedCredentials({ REGISTRY_AUTH_FILE: await fileWith(folder.path, { auths }) });
    expect(await find('r.example', 'a')).toMatchObject({ registryToken: 'own' });
  });

  test('a missing helper and a strange helper name are told', async () => {
    await using folder = await temporaryFolder();
    const path = await fileWith(folder.path, { credHelpers: { a: 'no-such-helper', b: '../x' } });
    const find = storedCredentials({ REGISTRY_AUTH_FILE: path });
    await expect(find('a', 'x')).rejects.toMatchObject({ code: 'unavailable' });
    await expect(find('b', 'x')).rejects.toMatchObject({ code: 'invalid' });
  });

  test.each([
    ['not JSON', '{"auths": {"r.example": {"auth": "c2VjcmV0"'],
    ['auth without a colon', { auths: { 'r.example': { auth: encode('c2VjcmV0') } } }],
    ['auths as a list', { auths: ['c2VjcmV0'] }],
  ])('%s is invalid, and the message shows no secret', async (_, content) => {
    await using folder = await temporaryFolder();
    const find = storedCredentials({ REGISTRY_AUTH_FILE: await fileWith(folder.path, content) });
    const error = await failureOf(find('r.example', 'a'));
    expect(error).toMatchObject({ code: 'invalid' });
    expect(`${error.message} ${String(error.cause)}`).not.toContain('c2VjcmV0');
  });
});

test('authKeys goes from the repository to the host', () => {
  expect(authKeys('r.example', 'a/b').slice(0, 3)).toEqual([
    'r.example/a/b',
    'r.example/a',
    'r.example',
  ]);
});
