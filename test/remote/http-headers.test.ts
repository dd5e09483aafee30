import { describe, expect, test } from 'vitest';
import { parseChallenges } from '#src/remote/auth-challenge.js';
import { parseContentRange } from '#src/remote/content-range.js';
import { parseRetryAfter } from '#src/remote/http-answer.js';

describe('parseChallenges', () => {
  const plain = (header: string) =>
    parseChallenges(header).map(({ scheme, parameters }) => [
      scheme,
      Object.fromEntries(parameters),
    ]);

  test.each([
    ['Basic realm="a, b"', [['basic', { realm: 'a, b' }]]],
    [
      'Bearer realm="https://t.example/token",service="r",scope="repository:a/b:pull,push"',
      [
        [
          'bearer',
          { realm: 'https://t.example/token', service: 'r', scope: 'repository:a/b:pull,push' },
        ],
      ],
    ],
    [
      'Negotiate, Basic realm=x, BEARER Realm="q\\"uote" , error=invalid_token',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x' }],
        ['bearer', { realm: 'q"uote', error: 'invalid_token' }],
      ],
    ],
    ['', []],
    ['realm="no scheme"', []],
    ['Bearer realm="unclosed', [['bearer', {}]]],
  ])('%s', (header, expected) => {
    expect(plain(header)).toEqual(expected);
  });
});

test.each([
  ['bytes 0-9/10', { range: { first: 0, last: 9 }, total: 10 }],
  ['bytes 5-9/*', { range: { first: 5, last: 9 } }],
  ['bytes */10', { total: 10 }],
  ['bytes 9-5/10', undefined],
  ['bytes 1-/10', undefined],
  ['items 0-1/2', undefined],
  ['bytes=0-1/2', undefined],
  [undefined, undefined],
])('parseContentRange(%s)', (header, expected) => {
  expect(parseContentRange(header)).toEqual(expected);
});

test.each([
  ['3', 3000],
  ['Thu, 01 Jan 1970 00:00:10 GMT', 9000],
  ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
  ['soon', undefined],
  [undefined, undefined],
])('parseRetryAfter(%s) is %s ms', (header, expected) => {
  expect(parseRetryAfter(header, 1000)).toBe(expected);
});
