import { describe, expect, test } from 'vitest';
import {
  dialedHost,
  formatReference,
  isLoopbackHost,
  parseReference,
} from '#src/remote/reference.js';

const digest = `sha256:${'a'.repeat(64)}`;

describe('parseReference', () => {
  test.each([
    ['alpine', 'docker.io/library/alpine:latest'],
    ['alpine:3.20', 'docker.io/library/alpine:3.20'],
    ['team/app', 'docker.io/team/app:latest'],
    ['docker.io/alpine', 'docker.io/library/alpine:latest'],
    ['index.docker.io/team/app', 'docker.io/team/app:latest'],
    ['ghcr.io/team/app:1', 'ghcr.io/team/app:1'],
    ['localhost/app', 'localhost/app:latest'],
    ['localhost:5000/app', 'localhost:5000/app:latest'],
    ['127.0.0.1:5000/a/b/c:v1', '127.0.0.1:5000/a/b/c:v1'],
    ['[::1]:5000/app', '[::1]:5000/app:latest'],
    ['Registry/app', 'Registry/app:latest'],
    [`alpine@${digest}`, `docker.io/library/alpine@${digest}`],
    [`ghcr.io/app:1@${digest}`, `ghcr.io/app:1@${digest}`],
    ['host.example/a__b/c.d/e--f', 'host.example/a__b/c.d/e--f:latest'],
  ])('reads %s as %s', (text, full) => {
    const reference = parseReference(text);
    expect(formatReference(reference)).toBe(full);
    expect(parseReference(full)).toEqual(reference);
  });

  test.each([
    '',
    ':tag',
    'a//b',
    'host.example/',
    'host.example/UPPER',
    'app:',
    'app:-x',
    `app:${'t'.repeat(129)}`,
    'app@sha256:12',
    `app@sha512:${'a'.repeat(128)}`,
    'ho st.example/app',
    '-host.example/app',
    'host.example/a___b',
    'host.example/../app',
    `host.example/${'a/'.repeat(130)}a`,
    'user:secret@host.example/app',
  ])('refuses %j', (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

test('dialedHost differs for Docker Hub only', () => {
  expect(dialedHost('docker.io')).toBe('registry-1.docker.io');
  expect(dialedHost('ghcr.io')).toBe('ghcr.io');
});

test.each([
  ['localhost', true],
  ['localhost:5000', true],
  ['127.0.0.1:80', true],
  ['127.1.2.3', true],
  ['[::1]:5000', true],
  ['localhost.example', false],
  ['10.0.0.1', false],
  ['127.example', false],
])('isLoopbackHost(%s) is %s', (host, expected) => {
  expect(isLoopbackHost(host)).toBe(expected);
});
