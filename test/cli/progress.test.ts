import { describe, expect, it } from 'vitest';
import { createProgress } from '#src/cli/progress.js';
import { digestOf } from '#src/common/digest.js';

const config = { digest: digestOf('config'), kind: 'config', done: 5, total: 5 };
const layer = { digest: digestOf('layer'), kind: 'layer', total: 2048 };
const left = { digest: digestOf('left'), kind: 'layer', total: 1024 };

/** What is on the screen in the end, without control sequences. */
function lastScreen(text: string): string[] {
  const drawn = text.split(/\x1b\[\d+A/).at(-1) ?? ''; // oxlint-disable-line no-control-regex
  return drawn.replaceAll('\x1b[2K', '').split('\n').slice(0, -1);
}

function terminal(columns = 100) {
  let text = '';
  return {
    isTTY: true,
    columns,
    write: (more: string) => (text += more),
    screen: () => lastScreen(text),
  };
}

describe('createProgress on a terminal', () => {
  it('shows what is looked up, then a line a blob, then what came', () => {
    const output = terminal();
    const progress = createProgress('host/app:1', output);
    progress.update({ ...layer, status: 'prepared', done: 0 });
    progress.update({ ...left, status: 'downloading', done: 512 });
    progress.update({ ...config, status: 'done' });
    progress.end();
    const [name, first, second, third, summary] = output.screen();
    expect(name).toMatch(/^host\/app:1: +resolved$/);
    expect(first).toMatch(/^config-sha256:[0-9a-f]{12}: +done +\|\++\| 5 B$/);
    expect(second).toMatch(/^layer-sha256:[0-9a-f]{12}: +prepared +\|\++\| 2\.0 KiB$/);
    expect(third).toMatch(/^layer-\S+ +downloading +\|\++-+\| 512 B\/1\.0 KiB$/);
    expect(summary).toMatch(/^elapsed: 0\.\d s {2}total: 517 B \(.*\/s\)$/);
  });

  it('says what it waits for, and keeps to the columns', () => {
    const output = terminal(40);
    const progress = createProgress(`host/${'x'.repeat(60)}:1`, output);
    progress.end();
    const [name, summary] = output.screen();
    expect(name).toMatch(/^host\/x+: +resolving$/);
    expect(name?.length).toBeLessThan(40);
    expect(summary).toMatch(/^elapsed: /);
  });
});

describe('createProgress elsewhere', () => {
  it('writes a line when a status changes', () => {
    let text = '';
    const progress = createProgress('host/app:1', { write: (more: string) => (text += more) });
    for (const done of [0, 100, 200]) progress.update({ ...layer, status: 'downloading', done });
    progress.update({ ...layer, status: 'done', done: 2048 });
    progress.end();
    expect(text.split('\n')).toEqual([
      expect.stringMatching(/^layer-sha256:[0-9a-f]{12} downloading 2\.0 KiB$/),
      expect.stringMatching(/^layer-sha256:[0-9a-f]{12} done 2\.0 KiB$/),
      '',
    ]);
  });
});
