import { describe, expect, it } from 'vitest';
import { type DiffId, chainIds, digestOf } from '#src/common/digest.js';
import { indexLabels, manifestLabels, mergeLabels } from '#src/containerd/gc-labels.js';
import { snapshotLabels } from '#src/containerd/snapshot-labels.js';
import { layerNaming } from '#src/snapshotter/labels.js';
import { type Descriptor, mediaTypes } from '#src/remote/descriptor.js';

function layer(name: string, extra: Partial<Descriptor> = {}): Descriptor {
  return { mediaType: mediaTypes.ociLayerGzip, digest: digestOf(name), size: 7, ...extra };
}

const manifest = digestOf('manifest');
const [chainId = digestOf('') as never] = chainIds([digestOf('tar') as DiffId]);
const place = { reference: 'docker.io/library/app:1', manifest, chainId };

describe('gcLabels', () => {
  it('number the children of an index and of a manifest', () => {
    const [a, b] = [layer('a'), layer('b')];
    expect(indexLabels({ schemaVersion: 2, manifests: [a, b] })).toEqual({
      'containerd.io/gc.ref.content.m.0': a.digest,
      'containerd.io/gc.ref.content.m.1': b.digest,
    });
    expect(manifestLabels({ schemaVersion: 2, config: a, layers: [b, a] })).toEqual({
      'containerd.io/gc.ref.content.config': a.digest,
      'containerd.io/gc.ref.content.l.0': b.digest,
      'containerd.io/gc.ref.content.l.1': a.digest,
    });
  });

  it('keep every repository that a blob is known to come from, and nothing else of old labels', () => {
    const source = 'containerd.io/distribution.source.docker.io';
    const current = { [source]: 'library/b,library/c', other: 'kept where it is' };
    expect(mergeLabels(current, { [source]: 'library/a' })).toEqual({
      [source]: 'library/a,library/b,library/c',
    });
    expect(mergeLabels(current, { [source]: 'library/c', x: 'y' })).toEqual({
      [source]: 'library/b,library/c',
      x: 'y',
    });
  });
});

describe('snapshotLabels', () => {
  it('name the layer so that the snapshotter knows it', () => {
    const layers = [layer('a'), layer('b')] as const;
    const labels = snapshotLabels({ ...place, layers: [...layers] });
    expect(labels['containerd.io/snapshot.ref']).toBe(chainId);
    expect(layerNaming(labels)).toEqual({
      reference: place.reference,
      layerDigest: digestOf('a'),
      manifestDigest: manifest,
      imageLayers: [digestOf('a'), digestOf('b')],
      urls: new Map(),
    });
  });

  it('name it in the words of every client', () => {
    const labels = snapshotLabels({ ...place, layers: [layer('a', { urls: ['http://a/b'] })] });
    expect(labels).toMatchObject({
      'containerd.io/snapshot/remote/stargz.reference': place.reference,
      'containerd.io/snapshot/remote/stargz.digest': digestOf('a'),
      'containerd.io/snapshot/remote/stargz.layers': digestOf('a'),
      'containerd.io/snapshot/remote/soci.size': '7',
      'containerd.io/snapshot/remote/urls': 'http://a/b',
    });
  });

  it('end a list before it gets too long for containerd, at a whole digest', () => {
    const many = Array.from({ length: 100 }, (_, at) => layer(String(at)));
    const labels = snapshotLabels({ ...place, layers: [layer('a'), ...many] });
    for (const [key, value] of Object.entries(labels)) {
      expect(Buffer.byteLength(key + value)).toBeLessThanOrEqual(4096);
    }
    const text = labels['containerd.io/snapshot/cri.image-layers'] ?? '';
    expect(text.length).toBeGreaterThan(3900);
    expect(text.split(',').every((digest) => /^sha256:[0-9a-f]{64}$/.test(digest))).toBe(true);
  });
});
