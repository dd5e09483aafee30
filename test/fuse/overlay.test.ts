/** Overlay over the mount, as containers use it. */

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MNT, mount, umount } from '#src/ffi/libc.js';
import { must } from '../support/sandbox.js';
import { type ServedFolders, fuseMissing, serveFolders } from '../support/served-folders.js';

const missing = fuseMissing();

describe.skipIf(missing !== undefined)('overlay over two layers', () => {
  let served: ServedFolders;
  let merged: string;
  let upper: string;

  beforeAll(async () => {
    served = await serveFolders();
    const [low, high] = [await served.folder('low'), await served.folder('high')];
    await must('bash', '-ec', fill, 'fill', low, high);
    const lower = [await served.add(2, high), await served.add(1, low)];
    merged = await served.folder('merged');
    upper = await served.folder('upper');
    const work = await served.folder('work');
    const data = `lowerdir=${lower.join(':')},upperdir=${upper},workdir=${work}`;
    mount({ source: 'overlay', target: merged, type: 'overlay', data });
  });

  afterAll(async () => {
    umount(merged, MNT.DETACH);
    await served[Symbol.asyncDispose]();
  });

  it('takes away what the upper layer takes away', () => {
    expect(readdirSync(merged).sort()).toEqual(['added', 'kept', 'opaque', 'shared']);
    expect(readdirSync(join(merged, 'opaque'))).toEqual(['only']);
    expect(readdirSync(join(merged, 'shared')).sort()).toEqual(['high', 'low']);
  });

  it('reads cold files of both', () => {
    return must('bash', '-c', `cat '${merged}/shared/low' '${merged}/shared/high'`).then((text) =>
      expect(text).toBe('low\nhigh\n'),
    );
  });

  it('copies a file up when it is written', async () => {
    await must('bash', '-c', `echo more >> '${merged}/kept'`);
    expect(readFileSync(join(merged, 'kept'), 'utf8')).toBe('kept\nmore\n');
    expect(readFileSync(join(upper, 'kept'), 'utf8')).toBe('kept\nmore\n');
    expect(readFileSync(join(served.session.layerPath(1), 'kept'), 'utf8')).toBe('kept\n');
  });

  it('lets lower files and folders be removed, renamed and made anew', async () => {
    await must('mv', join(merged, 'shared'), join(merged, 'moved'));
    expect(readdirSync(join(merged, 'moved')).sort()).toEqual(['high', 'low']);
    await must('rm', '-r', join(merged, 'moved'));
    mkdirSync(join(merged, 'shared'));
    expect(readdirSync(join(merged, 'shared'))).toEqual([]);
    writeFileSync(join(merged, 'added'), 'anew');
    expect(readFileSync(join(merged, 'added'), 'utf8')).toBe('anew');
  });

  const fill = `
    cd "$1"; mkdir opaque shared; echo hidden > opaque/hidden; echo low > shared/low
    echo gone > gone; mkdir gone-too; echo x > gone-too/x; echo kept > kept
    cd "$2"; mkdir opaque shared; : > opaque/.wh..wh..opq; echo only > opaque/only; echo high > shared/high
    : > .wh.gone; : > .wh.gone-too; echo added > added`;
});

describe.skipIf(missing !== undefined)('overlay over a layer without extended attributes', () => {
  it('is mounted while layers come, and stays the owner of what it has', async () => {
    await using served = await serveFolders();
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), 'one');
    const lower = [await served.add(1, source, { present: true })];
    lower.push(await served.add(2, source, { present: true }));
    const target = await served.folder('target');
    mount({ source: 'overlay', target, type: 'overlay', data: `lowerdir=${lower.join(':')}` });
    try {
      await served.add(3, source, { present: true });
      served.session.removeLayer(3);
      expect(readFileSync(join(target, 'file'), 'utf8')).toBe('one');
    } finally {
      umount(target, MNT.DETACH);
    }
  });

  it('does not keep the session from ending', async () => {
    await using served = await serveFolders();
    const source = await served.folder('source');
    writeFileSync(join(source, 'file'), 'one');
    const lower = [await served.add(1, source, { present: true })];
    lower.push(await served.add(2, source, { present: true }));
    const target = await served.folder('target');
    mount({ source: 'overlay', target, type: 'overlay', data: `lowerdir=${lower.join(':')}` });
    try {
      await served.session.unmount();
      expect(() => readFileSync(join(target, 'file'))).toThrow();
    } finally {
      umount(target, MNT.DETACH);
    }
  });
});
