import { ContainerLog, earlierLog, formatLog, parseLogLine } from '#src/exec/container-log.js';
import { readLog } from '#src/exec/read-log.js';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';

const { signal } = new AbortController();
const time = new Date('2023-11-14T22:13:20Z');

async function textOf(path: string, options: { tail?: number } = {}): Promise<string> {
  const parts: Buffer[] = [];
  for await (const { data } of readLog(path, { signal, ...options })) parts.push(data);
  return Buffer.concat(parts).toString('latin1');
}

test('the form is that of CRI, and keeps every byte', () => {
  const chunk = Buffer.from('whole\n\nhalf \xff', 'latin1');
  const text = formatLog('stderr', chunk, time);
  const head = '2023-11-14T22:13:20.000Z stderr';
  expect(text.toString('latin1')).toBe(`${head} F whole\n${head} F \n${head} P half \xff\n`);
  const lines = text.toString('latin1').split('\n').slice(0, -1);
  const records = lines.map((line) => parseLogLine(Buffer.from(line, 'latin1')));
  expect(Buffer.concat(records.map((one) => one?.data ?? Buffer.alloc(0)))).toEqual(chunk);
  expect(parseLogLine(Buffer.from('no record'))).toBeUndefined();
});

test('the newest output stays, in two files of a limited size', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'log');
  const log = await ContainerLog.open(path, 1000);
  for (let line = 0; line < 100; line++) await log.write('stdout', Buffer.from(`line ${line}\n`));
  await log.close();
  for (const one of [path, earlierLog(path)]) expect((await stat(one)).size).toBeLessThan(1001);
  expect(await textOf(path)).toMatch(/line 98\nline 99\n$/);
  expect(await textOf(path, { tail: 2 })).toBe('line 98\nline 99\n');
});

test('the tail counts lines, whatever pieces they came in', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'log');
  const log = await ContainerLog.open(path);
  for (const piece of ['a\nb', 'b', 'b\n', 'c']) await log.write('stdout', Buffer.from(piece));
  await log.close();
  expect(await textOf(path, { tail: 0 })).toBe('');
  expect(await textOf(path, { tail: 1 })).toBe('c');
  expect(await textOf(path, { tail: 2 })).toBe('bbb\nc');
  expect(await textOf(path, { tail: 9 })).toBe('a\nbbb\nc');
});

test('a reader follows into the next file, to the end', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'log');
  const log = await ContainerLog.open(path, 500);
  let line = 0;
  const follow = async (): Promise<boolean> => {
    if (line < 30) await log.write('stdout', Buffer.from(`line ${line++}\n`));
    return line < 30;
  };
  const lines: string[] = [];
  for await (const { data } of readLog(path, { signal, follow })) lines.push(data.toString());
  await log.close();
  expect(lines).toEqual(Array.from({ length: 30 }, (_, number) => `line ${number}\n`));
});
