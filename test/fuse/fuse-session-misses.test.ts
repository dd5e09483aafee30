/** Reads of what is not here yet. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { closedGate } from '../support/gate.js';
import { must, run } from '../support/sandbox.js';
import { fuseMissing, serveFolders } from '../support/served-folders.js';

const missing = fuseMissing();
const spanSize = 64 * 1024;

describe.skipIf(missing !== undefined)('FuseSession with an empty cache', () => {
  it('fetches what is read, once, and nothing for what is only looked at', async () => {
    const fetched: number[] = [];
    await using served = await serveFolders({
      onMiss: async (miss, _, fill) => {
        for (let span = miss.firstSpan; span <= miss.lastSpan; span += 1) fetched.push(span);
        await delay(20);
        await fill(miss);
      },
    });
    const source = await served.folder('source');
    writeFileSync(join(source, 'large'), randomBytes(3_000_000));
    writeFileSync(join(source, 'other'), randomBytes(3_000_000));
    const tree = await served.add(1, source, { spanSize });
    await must('find', tree, '-ls');
    expect(fetched).toEqual([]);
    await must('cmp', join(source, 'large'), join(tree, 'large'));
    const misses = served.session.stats().misses;
    expect(misses).toBeGreaterThan(0);
    await must('bash', '-c', `echo 3 > /proc/sys/vm/drop_caches; cat '${tree}/large' > /dev/null`);
    expect(served.session.stats().misses).toBe(misses);
    expect(Math.max(...fetched)).toBeLessThanOrEqual(Math.ceil(3_010_000 / spanSize));
  });

  it('serves 64 readers in parallel, present files meanwhile, with two workers', async () => {
    let waiting = 0;
    const gate = closedGate();
    await using served = await serveFolders({
      workers: 2,
      onMiss: async (miss, _, fill) => {
        waiting += 1;
        await gate.opened;
        await fill(miss);
      },
    });
    const [cold, warm] = [await served.folder('cold'), await served.folder('warm')];
    for (let n = 0; n < 64; n += 1) writeFileSync(join(cold, `${n}`), randomBytes(3 * spanSize));
    writeFileSync(join(warm, 'file'), 'here');
    const tree = await served.add(1, cold, { spanSize });
    const present = await served.add(2, warm, { present: true });
    const script = `for n in $(seq 0 63); do cmp "$1/$n" "$2/$n" & done; wait`;
    const readers = must('bash', '-c', script, 'readers', cold, tree);
    await expect.poll(() => waiting).toBeGreaterThanOrEqual(64);
    expect(await must('cat', join(present, 'file'))).toBe('here');
    gate.open();
    expect(await readers).toBe('');
  });

  it('answers EIO at the deadline and reads again when the source is back', async () => {
    let dead = true;
    let fetches = 0;
    await using served = await serveFolders({
      fetchTimeout: 700,
      onMiss: (miss, _, fill) => {
        fetches += 1;
        return dead ? new Promise(() => {}) : fill(miss);
      },
    });
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), randomBytes(10_000));
    const tree = await served.add(1, source);
    const before = performance.now();
    const outcome = await run('cat', [join(tree, 'file')]);
    expect(outcome.stderr).toContain('Input/output error');
    expect(performance.now() - before).toBeGreaterThan(650);
    // The kernel asks twice, for what it reads ahead and for the page itself; only the first waits.
    expect([served.session.stats().failedReads > 1, fetches]).toEqual([true, 1]);
    dead = false;
    await delay(1_000);
    await must('cmp', join(source, 'file'), join(tree, 'file'));
  });

  it('answers EIO where fetching fails', async () => {
    await using served = await serveFolders({ onMiss: () => Promise.reject(new Error('no')) });
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), 'x');
    const tree = await served.add(1, source);
    const outcome = await run('cat', [join(tree, 'file')]);
    expect(outcome.stderr).toContain('Input/output error');
    expect(served.session.stats().failedReads).toBeGreaterThan(0);
  });

  it.each([
    ['in order', ['cat']],
    ['past the page cache', ['dd', 'iflag=direct', 'bs=4096', 'if=']],
  ])('lets a reader be killed at once that reads %s', async (_, command) => {
    const aborted: boolean[] = [];
    await using served = await serveFolders({
      fetchTimeout: 600_000, // more than the test has
      onMiss: (__, signal) => {
        signal.addEventListener('abort', () => aborted.push(true));
        return new Promise(() => {});
      },
    });
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), randomBytes(500_000));
    const tree = await served.add(1, source);
    const path = join(tree, 'file');
    const [program = '', ...args] = command;
    const last = args.at(-1) === 'if=' ? [...args.slice(0, -1), `if=${path}`] : [...args, path];
    const reader = spawn(program, last, { stdio: 'ignore' });
    const closed = once(reader, 'close');
    await expect.poll(() => served.session.stats().misses).toBeGreaterThan(0);
    reader.kill('SIGTERM');
    await closed;
    // What was read ahead goes on until its time is up; what the reader itself waited for does not.
    if (program === 'dd') await expect.poll(() => aborted.length).toBe(1);
  });

  it('does not break off a read for a signal that the reader handles', async () => {
    await using served = await serveFolders({
      onMiss: async (miss, _, fill) => {
        await delay(500);
        await fill(miss);
      },
    });
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), randomBytes(5_000));
    const tree = await served.add(1, source);
    const script = `
$SIG{ALRM} = sub { print "alarm "; };
use Time::HiRes; Time::HiRes::setitimer(0, 0.1, 0.05);
use Fcntl; sysopen(my $f, $ARGV[0], O_RDONLY | 040000) or die;
my $n = sysread($f, my $b, 4096); die "$!" unless defined $n; print "read $n";`;
    expect(await must('perl', '-e', script, join(tree, 'file'))).toContain('read 4096');
  });

  it('fails what waits when it is unmounted', async () => {
    await using served = await serveFolders({ onMiss: () => new Promise(() => {}) });
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), 'x');
    const tree = await served.add(1, source);
    const reader = run('cat', [join(tree, 'file')]);
    await expect.poll(() => served.session.stats().misses).toBeGreaterThan(0);
    await expect(served.session.unmount()).rejects.toMatchObject({ code: 'busy' });
    await served.session.unmount({ lazy: true });
    expect((await reader).code).toBe(1);
  });
});
