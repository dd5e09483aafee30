import { describe, expect, test } from 'vitest';
import { createBenchProgress } from '../../bench/report/progress.js';
import { formatResult } from '../../bench/report/terminal-table.js';
import { sampleResult } from './support/sample-result.js';

describe('the table', () => {
  const text = formatResult(sampleResult());
  const lines = text.split('\n');

  test('has a part for each scenario, with image, link and rounds', () => {
    expect(lines).toContain(
      'Cold pull and start: Node with a large node_modules (84.4 MiB in 4 layers; 10 ms round trip, 100 Mbit/s; 5 rounds)',
    );
    expect(text).toContain('Metadata walk <find & stat>');
  });

  test('is aligned: numbers end below each other', () => {
    const begin = lines.findIndex((line) => line.includes('requests'));
    const table = lines.slice(begin, begin + 5);
    const end = (line: string): number =>
      line.search(/requests|(?<= )\d+(?=\s+[\d.]+ MiB\s+[\d.]+ m?s)/);
    expect(new Set(table.map((line) => line.length)).size).toBe(1);
    const [heading = '', ...rows] = table;
    for (const row of rows) {
      const cell = /\S+$/.exec(row.slice(0, end(heading) + 'requests'.length))?.[0];
      expect(cell).toMatch(/^\d+$/);
    }
  });

  test('has medians with their spread, ratios, and what was made before', () => {
    const indexed = lines.find((line) => line.startsWith('siphon, indexed')) ?? '';
    expect(indexed).toMatch(/\d\.\d\d s \(\d\.\d\d s–\d\.\d\d s\)/);
    expect(indexed).toMatch(/0\.1\d \(0\.1\d–0\.1\d\)/);
    expect(indexed).toContain('index: 1.43 s, 1.9 MiB');
  });

  test('has the middle and the end of single reads', () => {
    const heading = lines.find((line) => line.includes('99 % within'));
    expect(heading).toMatch(/a second +50 % within +99 % within$/);
    expect(text).toMatch(/siphon, indexed.* reads +\d+ µs +\d+\.\d ms$/m);
  });

  test('says what does not count and who is not here, with reasons', () => {
    expect(text).toContain(
      '! stargz-snapshotter: round 4 does not count: layer sha256:222222222222',
    );
    expect(text).toContain('! podman, fuse-overlayfs: skipped: the image needs devices');
    expect(lines).toContain('! Not all of it: it was interrupted');
    expect(lines).toContain('! unpack of image "node": no space left on device');
    expect(text).toMatch(/^SOCI +no soci-snapshotter-grpc on the path/m);
  });
});

describe('progress', () => {
  function written(output: { isTTY?: boolean; columns?: number }): string {
    let text = '';
    let clock = 0;
    const progress = createBenchProgress(
      3,
      { ...output, write: (more: string) => (text += more) },
      () => clock,
    );
    progress.step('cold start, one');
    clock = 4000;
    progress.step('cold start, two');
    progress.note('something to know');
    progress.end();
    return text;
  }

  test('is a line for each step where nobody can be shown anything else', () => {
    expect(written({})).toBe('[1/3] cold start, one\n[2/3] cold start, two\nsomething to know\n');
  });

  test('is one line on a terminal, with the time that is left, and goes at the end', () => {
    const clear = '\r\x1b[2K';
    expect(written({ isTTY: true, columns: 80 })).toBe(
      `${clear}[1/3] cold start, one${clear}[2/3] cold start, two  8.00 s left${clear}something to know\n${clear}`,
    );
  });

  test('fits a narrow terminal', () => {
    const shown = written({ isTTY: true, columns: 20 }).split('\r\x1b[2K').slice(1, 3);
    expect(shown).toEqual(['[1/3] cold start, o', '[2/3]   8.00 s left']);
  });
});
