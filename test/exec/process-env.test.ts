import { DEFAULT_PATH, envValue, processEnv } from '#src/exec/process-env.js';
import { expect, test } from 'vitest';

const caller = { FROM_CALLER: 'value', SECRET: 'not handed on' };

test.each([
  ['defaults', {}, {}, [`PATH=${DEFAULT_PATH}`, 'HOME=/home/ann']],
  ['a terminal', {}, { terminal: true }, [`PATH=${DEFAULT_PATH}`, 'TERM=xterm', 'HOME=/home/ann']],
  ['the image', { Env: ['PATH=/bin', 'HOME=/h', 'A=1=2'] }, {}, ['PATH=/bin', 'HOME=/h', 'A=1=2']],
  [
    'given ones win',
    { Env: ['A=image', 'B=image'] },
    { env: ['A=given', 'TERM=vt'], terminal: true },
    [`PATH=${DEFAULT_PATH}`, 'TERM=vt', 'A=given', 'B=image', 'HOME=/home/ann'],
  ],
  [
    'a name alone takes the value of the caller, or removes',
    { Env: ['A=image'] },
    { env: ['FROM_CALLER', 'A'] },
    [`PATH=${DEFAULT_PATH}`, 'FROM_CALLER=value', 'HOME=/home/ann'],
  ],
  [
    'no variable without a name',
    { Env: ['=x', 'bare'] },
    {},
    [`PATH=${DEFAULT_PATH}`, 'HOME=/home/ann'],
  ],
  ['an empty HOME is none', { Env: ['HOME='] }, {}, [`PATH=${DEFAULT_PATH}`, 'HOME=/home/ann']],
])('processEnv: %s', (_, image, overrides, expected) => {
  expect(processEnv(image, overrides, '/home/ann', caller)).toEqual(expected);
});

test('processEnv refuses a given variable without a name', () => {
  expect(() => processEnv({}, { env: ['=x'] }, '/', {})).toThrow(
    expect.objectContaining({ code: 'usage' }),
  );
});

test('envValue', () => {
  expect(envValue(['PATHS=no', 'PATH=/a:/b=c'], 'PATH')).toBe('/a:/b=c');
  expect(envValue(['PATHS=no'], 'PATH')).toBeUndefined();
});
