import { describe, expect, it } from 'vitest';
import {
  decideAtFirst,
  decideWhenFailed,
  decideWhenNotServable,
  decideWhenServable,
} from '#src/layers/layer-policy.js';
import { mediaTypes } from '#src/remote/descriptor.js';

const settings = { smallestLazyLayer: 1000 };

describe('the policy of layers', () => {
  it.each([
    [mediaTypes.ociLayerGzip, 999, { way: 'unpacked', reason: 'small' }],
    [mediaTypes.ociLayerGzip, 1000, undefined],
    [mediaTypes.ociLayer, 1_000_000, undefined],
    [mediaTypes.ociLayerZstd, 1_000_000, undefined],
    [mediaTypes.dockerLayerGzip, 0, { way: 'unpacked', reason: 'small' }],
    [mediaTypes.dockerForeignLayer, 1_000_000, undefined],
    [mediaTypes.ociForeignLayerZstd, 1, { way: 'unpacked', reason: 'small' }],
    [`${mediaTypes.ociLayerGzip}+encrypted`, 1, { way: 'left', reason: 'unsupported' }],
    ['application/octet-stream', 1_000_000, { way: 'left', reason: 'unsupported' }],
  ])('at first: %s of %i bytes', (mediaType, size, decision) => {
    expect(decideAtFirst({ mediaType, size }, settings)).toEqual(decision);
  });

  it('takes nothing for small where the setting is 0', () => {
    const descriptor = { mediaType: mediaTypes.ociLayerGzip, size: 0 };
    expect(decideAtFirst(descriptor, { smallestLazyLayer: 0 })).toBeUndefined();
  });

  it('tells a layer with an index from one that was streamed', () => {
    expect(decideWhenServable({ keptHere: false })).toEqual({ way: 'lazy', reason: 'index' });
    expect(decideWhenServable({ keptHere: true })).toEqual({ way: 'streamed', reason: 'no-index' });
  });

  it('unpacks what only lacks a format, where serving fails', () => {
    const unpacked = { way: 'unpacked', reason: 'format' };
    expect(decideWhenNotServable('unsupported')).toEqual(unpacked);
    for (const code of ['corrupt', 'unavailable', 'no-space', undefined] as const)
      expect(decideWhenNotServable(code)).toBeUndefined();
  });

  it.each([
    ['corrupt', { way: 'left', reason: 'corrupt' }],
    ['unauthorized', { way: 'left', reason: 'unauthorized' }],
    ['unavailable', { way: 'refused', reason: 'unavailable' }],
    [undefined, { way: 'left', reason: 'internal' }],
  ] as const)('tells of what cannot be had at all: %s', (code, decision) => {
    expect(decideWhenFailed(code)).toEqual(decision);
  });
});
