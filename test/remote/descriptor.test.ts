import { expect, test } from 'vitest';
import { describe as descriptorOf, parseDescriptor } from '#src/remote/descriptor.js';
import { artifactTypeOf, parseImageIndex, parseManifest } from '#src/remote/manifest.js';
import { containing } from './helpers.js';

const layer = { mediaType: 'a/layer', digest: `sha256:${'1'.repeat(64)}`, size: 7 };
const config = { mediaType: 'a/config', digest: `sha256:${'2'.repeat(64)}`, size: 2 };
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

test('parseDescriptor keeps the fields of the specification and drops others', () => {
  const full = {
    ...layer,
    annotations: { a: 'b' },
    platform: { architecture: 'arm64', os: 'linux', variant: 'v8', 'os.features': ['x'] },
    artifactType: 'an/artifact',
    urls: ['https://elsewhere.example/blob'],
    data: 'e30=',
  };
  expect(parseDescriptor({ ...full, unknown: 1 })).toEqual(full);
});

test.each([
  [{ ...layer, size: -1 }, 'size'],
  [{ ...layer, size: 1.5 }, 'size'],
  [{ ...layer, size: '7' }, 'size'],
  [{ ...layer, digest: 'sha256:zz' }, 'digest'],
  [{ ...layer, digest: `sha512:${'a'.repeat(128)}` }, 'digest'],
  [{ ...layer, mediaType: '' }, 'mediaType'],
  [{ ...layer, annotations: { a: 1 } }, 'annotations'],
  [null, 'expected object'],
])('parseDescriptor refuses %j naming %s', (value, field) => {
  expect(() => parseDescriptor(value)).toThrow(
    expect.objectContaining({ code: 'invalid', message: containing(field) }),
  );
});

test('describe gives digest and size of bytes', () => {
  expect(descriptorOf(Buffer.from('{}'), 'a/b')).toEqual({
    mediaType: 'a/b',
    digest: 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
    size: 2,
  });
});

test('parseManifest and parseImageIndex tell the two documents apart', () => {
  const manifest = bytes({ schemaVersion: 2, config, layers: [layer] });
  const index = bytes({ schemaVersion: 2, manifests: [layer] });
  expect(parseManifest(manifest, 'x').layers).toEqual([layer]);
  expect(parseImageIndex(index, 'x').manifests).toEqual([layer]);
  expect(() => parseManifest(index, 'x')).toThrow('Cannot read manifest "x": "config"');
  expect(() => parseImageIndex(manifest, 'x')).toThrow('Cannot read image index "x": "manifests"');
  expect(() => parseManifest(Buffer.from('<html>'), 'x')).toThrow('it is not JSON');
  expect(() => parseManifest(bytes({ schemaVersion: 1, config, layers: [] }), 'x')).toThrow(
    'schemaVersion',
  );
});

test('artifactTypeOf is the manifest’s own, else its config’s media type', () => {
  const manifest = parseManifest(bytes({ schemaVersion: 2, config, layers: [] }), 'x');
  expect(artifactTypeOf(manifest)).toBe('a/config');
  expect(artifactTypeOf({ ...manifest, artifactType: 'an/artifact' })).toBe('an/artifact');
});
