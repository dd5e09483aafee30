import { expect, test } from 'vitest';
import { readPullRequest } from '#src/cri/pull-request.js';
import { type AuthConfig, PullImageRequest } from '#src/generated/runtime/v1/cri.js';

const nobody: AuthConfig = {
  username: '',
  password: '',
  auth: '',
  serverAddress: '',
  identityToken: '',
  registryToken: '',
};

function read(image: string, auth: Partial<AuthConfig>) {
  const request = { image: { image }, auth: { ...nobody, ...auth } };
  return readPullRequest(PullImageRequest.encode(request).finish());
}

const pair = Buffer.from('me:open:sesame').toString('base64');

test.each([
  [
    { username: 'me', password: 'sesame' },
    { username: 'me', password: 'sesame' },
  ],
  [{ auth: pair }, { username: 'me', password: 'open:sesame' }],
  [{ auth: Buffer.from('me:x\0\0').toString('base64') }, { username: 'me', password: 'x' }],
  [{ identityToken: 'refresh' }, { username: '', password: '', identityToken: 'refresh' }],
  [{ registryToken: 'bearer' }, { username: '', password: '', registryToken: 'bearer' }],
])('%j', (auth, credentials) => {
  expect(read('r.example:5000/team/app:1', auth)).toEqual({
    reference: { host: 'r.example:5000', repository: 'team/app', tag: '1' },
    credentials,
  });
});

test('nobody, and who says nothing, has no credentials', () => {
  expect(read('r.example/app', {})).toBeUndefined();
  const bare = { image: { image: 'r.example/app' }, auth: undefined };
  expect(readPullRequest(PullImageRequest.encode(bare).finish())).toBeUndefined();
});

test.each([
  ['r.example/app', 'r.example', true],
  ['r.example/app', 'https://r.example/v1/', true],
  ['r.example/app', 'other.example', false],
  ['r.example:5000/app', 'r.example', false],
  ['alpine', 'https://index.docker.io/v1/', true],
  ['alpine', 'registry-1.docker.io', true],
  ['alpine', 'r.example', false],
])('credentials for an image %s and the server %s: they fit is %s', (image, serverAddress, fit) => {
  const auth = { username: 'me', password: 'x', serverAddress };
  expect(read(image, auth) !== undefined).toBe(fit);
});

test('what cannot be understood is told without the secret', () => {
  const auth = Buffer.from('hush').toString('base64');
  expect(() => read('r.example/app', { auth })).toThrow(
    'Cannot read credentials of "r.example": "auth" is malformed, expected base64 of "user:password"',
  );
});
