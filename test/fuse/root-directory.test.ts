import { expect, it } from 'vitest';
import { layerNumber } from '#src/fuse/root-directory.js';

it.each([
  ['1', 1],
  ['4294967295', 4_294_967_295],
  ['4294967296', undefined],
  ['0', undefined],
  ['01', undefined],
  ['1x', undefined],
  ['', undefined],
])('layerNumber(%j) is %s', (name, number) => {
  expect(layerNumber(name)).toBe(number);
});
