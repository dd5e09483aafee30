import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SealedFile } from '#src/common/sealed-file.js';
import { silentLogger } from '#src/common/log.js';
import { PodCredentials } from '#src/cri/pod-credentials.js';
import type { Credentials } from '#src/remote/credentials.js';
import { parseReference } from '#src/remote/reference.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const stored: Credentials = { username: 'stored', password: 's' };
const [first, second]: Credentials[] = [
  { username: 'first', password: '1' },
  { username: '', password: '', identityToken: 'refresh' },
];

function begin(pods: PodCredentials, image: string, credentials: Credentials | undefined) {
  if (credentials === undefined) throw new Error('no credentials given');
  return pods.begin({ reference: parseReference(image), credentials });
}

const sourceOf = (pods: PodCredentials) => pods.before(async () => stored);

test('a pull brings credentials for its repository alone', async () => {
  const pods = new PodCredentials({ log: silentLogger });
  const find = sourceOf(pods);
  expect(await find('r.example', 'app')).toEqual(stored);
  const ended = begin(pods, 'r.example/app:1', first);
  expect(await find('r.example', 'app')).toEqual(first);
  expect(await find('r.example', 'other')).toEqual(stored);
  expect(await find('mirror.example', 'app')).toEqual(stored);
  await ended('pulled');
  expect(await find('r.example', 'app')).toEqual(first);
});

test('those of a pull that failed are forgotten, and what was good before is good again', async () => {
  const pods = new PodCredentials({ log: silentLogger });
  const find = sourceOf(pods);
  await begin(pods, 'r.example/app:1', first)('pulled');
  const ended = begin(pods, 'r.example/app:2', second);
  expect(await find('r.example', 'app')).toEqual(second);
  await ended('failed');
  expect(await find('r.example', 'app')).toEqual(first);
});

test('of pulls at once each takes back its own', async () => {
  const pods = new PodCredentials({ log: silentLogger });
  const find = sourceOf(pods);
  const [one, two] = [begin(pods, 'r/a/b', first), begin(pods, 'r/a/b', second)];
  await one('failed');
  expect(await find('docker.io', 'r/a/b')).toEqual(second);
  await two('failed');
  expect(await find('docker.io', 'r/a/b')).toEqual(stored);
});

test('where the latest are refused, those of other pods are given, then those of this machine', async () => {
  await using folder = await temporaryFolder();
  const file = new SealedFile(join(folder.path, 'sealed'), Buffer.alloc(32, 1), 'test');
  const pods = new PodCredentials({ file, log: silentLogger });
  const all = ['1', '2', '3', '4', '5'].map((password) => ({ username: 'me', password }));
  for (const one of all) await begin(pods, 'r.example/app', one)('pulled');
  // Pulled again with what is known: the latest, and there once.
  await begin(pods, 'r.example/app', all[2])('pulled');
  for (const source of [pods, new PodCredentials({ file, log: silentLogger })]) {
    const find = sourceOf(source);
    const found: Credentials[] = [];
    for (let one = await find('r.example', 'app'); one !== stored && one !== undefined;) {
      found.push(one);
      one = await find('r.example', 'app', found);
    }
    expect(found.map(({ password }) => password)).toEqual(['3', '5', '4', '2']);
  }
});

test('of pulls at once with different logins, the one that is refused spoils no other', async () => {
  const pods = new PodCredentials({ log: silentLogger });
  const find = sourceOf(pods);
  begin(pods, 'r.example/app:1', first);
  begin(pods, 'r.example/app:2', second);
  expect(await find('r.example', 'app')).toEqual(second);
  expect(await find('r.example', 'app', second && [second])).toEqual(first);
});

test('what nothing is read from is not kept', async () => {
  const pods = new PodCredentials({ log: silentLogger });
  const wanted = new Set(['r.example/app']);
  pods.keepFor(() => wanted);
  await begin(pods, 'r.example/app', first)('pulled');
  await begin(pods, 'r.example/unpacked', first)('pulled');
  const find = sourceOf(pods);
  expect(await find('r.example', 'app')).toEqual(first);
  expect(await find('r.example', 'unpacked')).toEqual(stored);
});

test('the next server has them by the same secret, another one nothing', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'credentials');
  const open = (secret: number): PodCredentials =>
    new PodCredentials({
      file: new SealedFile(path, Buffer.alloc(32, secret), 'test'),
      log: silentLogger,
    });
  await begin(open(1), 'r.example/app', first)('pulled');
  const next = open(1);
  await begin(next, 'r.example/other', second)('pulled');
  const third = open(1);
  expect(await sourceOf(third)('r.example', 'app')).toEqual(first);
  expect(await sourceOf(third)('r.example', 'other')).toEqual(second);
  await using stranger = open(2);
  expect(await sourceOf(stranger)('r.example', 'app')).toEqual(stored);
  expect(await sourceOf(open(1))('r.example', 'app')).toEqual(stored);
});
