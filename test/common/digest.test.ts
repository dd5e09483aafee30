import { describe, expect, it } from 'vitest';
import { chainIds, digestOf, isDigest, parseDiffId, parseDigest } from '#src/common/digest.js';

const empty = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

describe('digests', () => {
  it('hashes with sha256', () => {
    expect(digestOf('')).toBe(empty);
  });

  it.each(['', 'sha256:', `${empty}0`, empty.toUpperCase(), 'sha512:00', `${empty}\n`])(
    'refuses %j',
    (text) => {
      expect(isDigest(text)).toBe(false);
      expect(() => parseDigest(text)).toThrow('expected "sha256:" and 64 lower-case hex digits');
    },
  );

  it('chains as the image specification says', () => {
    const layers = [digestOf('a'), digestOf('b'), digestOf('c')].map(parseDiffId);
    const [first, second, third] = chainIds(layers);
    expect(first).toBe(layers[0]);
    expect(second).toBe(digestOf(`${layers[0]} ${layers[1]}`));
    expect(third).toBe(digestOf(`${second} ${layers[2]}`));
  });
});
