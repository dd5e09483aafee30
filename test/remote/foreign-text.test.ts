import { expect, test } from 'vitest';
import { foreignText } from '#src/remote/foreign-text.js';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;
const signature = 'f00dfeed'.repeat(8);

test.each([
  ['see https://me:hush@store.example/b?sig=hush#hush now', 'see https://…@store.example/b?… now'],
  ['expired: /store/b?X-Amz-Signature=hush&a=b', 'expired: /store/b?…'],
  ['proxy me:hush@proxy.example:3128 failed', 'proxy …@proxy.example:3128 failed'],
  ['got "Bearer abc123def.x-y_z"', 'got "Bearer …"'],
  ['got Basic bWU6aHVzaA==', 'got Basic …'],
  ['eyJhbGciOiJFUzI1NiJ9.eyJhIjoxfQ.c2ln was refused', '… was refused'],
  [
    'refresh_token=hush and {"access_token": "hush", "Signature":"hush"}',
    'refresh_token=… and {"access_token": "…", "Signature":"…"}',
  ],
  ['key AbCdEfGhIjKlMnOpQrStUvWx0123/+==', 'key …'],
  [`signature ${signature} does not match`, 'signature … does not match'],
  ['two\nlines\t\u0007', 'two lines '],
  // What people need to read stays.
  [
    `MANIFEST_UNKNOWN: manifest unknown: app:1@${digest}`,
    `MANIFEST_UNKNOWN: manifest unknown: app:1@${digest}`,
  ],
  ['unauthorized: authentication required', 'unauthorized: authentication required'],
  [
    'basic authentication is needed for team/a-rather-long-repository-name',
    'basic authentication is needed for team/a-rather-long-repository-name',
  ],
  [
    'is it there? https://registry.example:5000/v2/team/app',
    'is it there? https://registry.example:5000/v2/team/app',
  ],
])('%s', (said, shown) => {
  expect(foreignText(said)).toBe(shown);
});

test('is bounded, and quick on hostile text', () => {
  expect(foreignText('word '.repeat(1000))).toHaveLength(200);
  for (const piece of ['/', 'a:', 'a@', 'token=', '"', 'Aa0', 'sig', '?', '//', 'eyJ', ' basic ']) {
    const start = performance.now();
    foreignText(piece.repeat(16_384 / piece.length));
    // Unbounded, patterns take seconds for the whole.
    expect(performance.now() - start).toBeLessThan(1000);
  }
});
