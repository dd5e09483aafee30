import { describe, expect, test } from 'vitest';
import { digestOf } from '#src/common/digest.js';
import { applyLabelMask } from '#src/snapshotter/label-mask.js';
import { layerNaming } from '#src/snapshotter/labels.js';

const [manifest, low, high] = [digestOf('manifest'), digestOf('low'), digestOf('high')];

describe('layerNaming', () => {
  const cri = {
    'containerd.io/snapshot/cri.image-ref': 'registry.test/a:1',
    'containerd.io/snapshot/cri.layer-digest': low,
    'containerd.io/snapshot/cri.manifest-digest': manifest,
    'containerd.io/snapshot/cri.image-layers': `${low},${high}`,
  };

  test('of CRI', () => {
    expect(layerNaming(cri)).toEqual({
      reference: 'registry.test/a:1',
      layerDigest: low,
      manifestDigest: manifest,
      imageLayers: [low, high],
      urls: new Map(),
    });
  });

  test('of the stargz client', () => {
    const labels = {
      'containerd.io/snapshot/remote/stargz.reference': 'registry.test/a:1',
      'containerd.io/snapshot/remote/stargz.digest': low,
      'containerd.io/snapshot/remote/stargz.layers': `${low},${high}`,
    };
    expect(layerNaming(labels)).toEqual({
      reference: 'registry.test/a:1',
      layerDigest: low,
      imageLayers: [low, high],
      urls: new Map(),
    });
  });

  test('with URLs, also of the layers above', () => {
    const labels = {
      ...cri,
      'containerd.io/snapshot/remote/urls': 'https://a.test/1,https://b.test/1',
      'containerd.io/snapshot/remote/urls.0': 'https://a.test/1',
      'containerd.io/snapshot/remote/urls.1': 'https://a.test/2',
      'containerd.io/snapshot/remote/urls.2': '',
    };
    expect(layerNaming(labels)?.urls).toEqual(
      new Map([
        [low, ['https://a.test/1', 'https://b.test/1']],
        [high, ['https://a.test/2']],
      ]),
    );
  });

  test('with a list that was cut in the middle of a digest', () => {
    const labels = {
      ...cri,
      'containerd.io/snapshot/cri.image-layers': `${low},${high.slice(0, 40)}`,
    };
    expect(layerNaming(labels)?.imageLayers).toEqual([low]);
  });

  test.each([
    ['no labels', {}],
    ['no reference', { 'containerd.io/snapshot/cri.layer-digest': low }],
    ['no digest', { 'containerd.io/snapshot/cri.image-ref': 'registry.test/a:1' }],
    [
      'another algorithm',
      { ...cri, 'containerd.io/snapshot/cri.layer-digest': `sha512:${'0'.repeat(128)}` },
    ],
  ])('nothing where there is %s', (_, labels: Record<string, string>) => {
    expect(layerNaming(labels)).toBeUndefined();
  });
});

describe('applyLabelMask', () => {
  const current = { a: '1', 'b.c': '2' };

  test('one label, with dots in its name', () => {
    expect(applyLabelMask(current, { 'b.c': '3', a: 'ignored' }, ['labels.b.c'])).toEqual({
      a: '1',
      'b.c': '3',
    });
    expect(applyLabelMask(current, {}, ['labels.b.c'])).toEqual({ a: '1' });
  });

  test('all labels', () => {
    expect(applyLabelMask(current, { x: 'y' }, [])).toEqual({ x: 'y' });
    expect(applyLabelMask(current, { x: 'y' }, ['labels'])).toEqual({ x: 'y' });
  });

  test.each(['name', 'parent', 'kind', 'created_at', 'label', ''])('not %j', (path) => {
    expect(() => applyLabelMask(current, {}, [path])).toThrow(
      expect.objectContaining({ code: 'invalid' }),
    );
  });
});
