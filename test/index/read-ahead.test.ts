import { expect, test } from 'vitest';
import { ReadAhead } from '#src/index/read-ahead.js';

const KIB = 1 << 10;
const SPAN = 100 * KIB;
const MIB = 1 << 20;

/** Of a layer of 1,000 spans of the same size. */
function readAhead(): ReadAhead {
  return new ReadAhead({
    count: 1000,
    startOf: (span) => span * SPAN,
    endOf: (span) => (span + 1) * SPAN,
  });
}

test('reads far from one another fetch nothing ahead, however much a request costs', () => {
  const ahead = readAhead();
  const fetched = [100, 500, 300, 900, 40, 700].map((span) =>
    ahead.next({ first: span, last: span }, 8 * MIB),
  );
  expect(fetched).toEqual(fetched.map(() => undefined));
});

test('several reads that leave little out bring that, and a request’s worth', () => {
  const ahead = readAhead();
  expect(ahead.next({ first: 10, last: 10 }, 3 * SPAN)).toBeUndefined();
  // Two may be near one another by chance.
  expect(ahead.next({ first: 16, last: 16 }, 3 * SPAN)).toBeUndefined();
  expect(ahead.next({ first: 20, last: 20 }, 3 * SPAN)).toEqual({ first: 17, last: 23 });
  // More is left out than two requests are worth, which begins anew.
  expect(ahead.next({ first: 31, last: 31 }, 3 * SPAN)).toBeUndefined();
});

test('a read that goes on where another ended brings a request’s worth', () => {
  const ahead = readAhead();
  ahead.next({ first: 10, last: 11 }, 2 * SPAN);
  expect(ahead.next({ first: 12, last: 12 }, 2 * SPAN)).toEqual({ first: 13, last: 14 });
  // What is wanted while it is on its way keeps as much on the way.
  expect(ahead.next({ first: 13, last: 13 }, 2 * SPAN)).toEqual({ first: 15, last: 15 });
});

test('where requests cost next to nothing, what lies between is left alone', () => {
  const ahead = readAhead();
  const fetched = [10, 12, 14, 16, 19, 21].map((span) =>
    ahead.next({ first: span, last: span }, SPAN / 8),
  );
  expect(fetched).toEqual(fetched.map(() => undefined));
});

test('who has read 3 MiB in order gets 16 MiB ahead', () => {
  const ahead = readAhead();
  const spans = Math.ceil((3 * MIB) / SPAN);
  for (let span = 0; span < spans; span += 1)
    expect(ahead.next({ first: span, last: span }, 0)).toBeUndefined();
  const window = Math.floor((16 * MIB) / SPAN);
  const { first, last } = ahead.next({ first: spans, last: spans }, 0) ?? { first: 0, last: 0 };
  expect({ first, last }).toEqual({ first: spans + 1, last: spans + window });
});

test('a request that seems to cost very much is worth 2 MiB', () => {
  const ahead = readAhead();
  ahead.next({ first: 0, last: 0 }, 64 * MIB);
  expect(ahead.next({ first: 1, last: 1 }, 64 * MIB)).toEqual({ first: 2, last: 21 });
});

test('reads out of order by a span or two go on with the sequence', () => {
  const ahead = readAhead();
  for (const span of [0, 1, 2, 3]) ahead.next({ first: span, last: span }, 0);
  expect(ahead.next({ first: 4, last: 5 }, 2 * SPAN)).toEqual({ first: 6, last: 7 });
  expect(ahead.next({ first: 4, last: 4 }, 2 * SPAN)).toBeUndefined();
  expect(ahead.next({ first: 6, last: 6 }, 2 * SPAN)).toEqual({ first: 8, last: 8 });
});
