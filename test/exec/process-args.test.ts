import { processArgs } from '#src/exec/process-args.js';
import { expect, test } from 'vitest';

const image = { Entrypoint: ['/entry', '-e'], Cmd: ['cmd', '-c'] };

test.each([
  ['both of the image', image, {}, ['/entry', '-e', 'cmd', '-c']],
  ['Cmd alone', { Cmd: ['cmd'] }, {}, ['cmd']],
  ['Entrypoint alone', { Entrypoint: ['/entry'] }, {}, ['/entry']],
  ['given arguments for Cmd', image, { args: ['x', 'y'] }, ['/entry', '-e', 'x', 'y']],
  ['no given arguments', image, { args: [] }, ['/entry', '-e', 'cmd', '-c']],
  ['given entrypoint drops Cmd', image, { entrypoint: ['/mine'] }, ['/mine']],
  ['given entrypoint and arguments', image, { entrypoint: ['/mine'], args: ['x'] }, ['/mine', 'x']],
  ['cleared entrypoint', image, { entrypoint: [''], args: ['x'] }, ['x']],
  ['cleared entrypoint of the image', { Entrypoint: [''], Cmd: ['cmd'] }, {}, ['cmd']],
  ['an image without a command', {}, { args: ['x'] }, ['x']],
  ['empty arguments are arguments', { Cmd: ['cmd', ''] }, {}, ['cmd', '']],
])('processArgs: %s', (_, config, overrides, expected) => {
  expect(processArgs(config, overrides)).toEqual(expected);
});

test.each([
  [{}, {}],
  [image, { entrypoint: [''] }],
  [{ Cmd: [''] }, {}],
])('processArgs refuses %j with %j', (config, overrides) => {
  expect(() => processArgs(config, overrides)).toThrow(expect.objectContaining({ code: 'usage' }));
});
