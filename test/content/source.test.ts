import { describe, expect, test } from 'vitest';
import { formatSource, parseSource } from '#src/content/source.js';

const library = { host: 'docker.io', repository: 'library/alpine', tag: 'latest' };

describe('parseSource', () => {
  test.each([
    ['alpine', { kind: 'registry', reference: library }],
    ['docker://alpine', { kind: 'registry', reference: library }],
    [
      'localhost:5000/a/b:1',
      { kind: 'registry', reference: { host: 'localhost:5000', repository: 'a/b', tag: '1' } },
    ],
    ['oci:dir', { kind: 'oci-layout', path: 'dir' }],
    ['oci:/a/b:v1', { kind: 'oci-layout', path: '/a/b', ref: 'v1' }],
    ['oci:dir:host/app:v1', { kind: 'oci-layout', path: 'dir', ref: 'host/app:v1' }],
    ['oci-archive:x.tar:v1', { kind: 'oci-archive', path: 'x.tar', ref: 'v1' }],
    ['docker-archive:x.tar', { kind: 'docker-archive', path: 'x.tar' }],
    ['docker-archive:x.tar:app:1', { kind: 'docker-archive', path: 'x.tar', ref: 'app:1' }],
    ['./layer', { kind: 'tar-file', path: './layer' }],
    ['../layer', { kind: 'tar-file', path: '../layer' }],
    ['/tmp/layer', { kind: 'tar-file', path: '/tmp/layer' }],
    ['layer.tar', { kind: 'tar-file', path: 'layer.tar' }],
    ['layer.tar.gz', { kind: 'tar-file', path: 'layer.tar.gz' }],
    ['a/layer.tar.zst', { kind: 'tar-file', path: 'a/layer.tar.zst' }],
    ['https://host/layer?sig=1', { kind: 'tar-url', url: 'https://host/layer?sig=1' }],
  ])('reads %s', (text, expected) => {
    expect(parseSource(text)).toEqual(expected);
  });

  test.each(['', 'oci:', 'oci::v1', 'UPPER', 'http://', 'docker://'])('refuses "%s"', (text) => {
    expect(() => parseSource(text)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

describe('formatSource', () => {
  test.each([
    ['docker://alpine', 'docker.io/library/alpine:latest'],
    ['oci:dir:v1', 'oci:dir:v1'],
    ['docker-archive:x.tar', 'docker-archive:x.tar'],
    ['layer.tar', 'layer.tar'],
  ])('writes %s as %s', (text, expected) => {
    expect(formatSource(parseSource(text))).toBe(expected);
  });

  test('shows neither password nor query of a URL', () => {
    expect(formatSource(parseSource('https://u:secret@host/l.tar?sig=secret'))).toBe(
      'https://host/l.tar',
    );
  });
});
