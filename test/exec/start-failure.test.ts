import { CommandError } from '#src/exec/command-error.js';
import { startFailure } from '#src/exec/start-failure.js';
import { expect, test } from 'vitest';

const line = (msg: string, level = 'error'): string => JSON.stringify({ level, msg });

test.each([
  ['runc, not in PATH', 'exec: "nope": executable file not found in $PATH', 127],
  ['runc, no such path', 'exec: "/no": stat /no: no such file or directory', 127],
  ['runc, not executable', 'exec: "/lib": permission denied', 126],
  ['runc, a folder', 'exec: "/lib": is a directory: permission denied', 126],
  ['crun, not there', 'executable file `/no` not found in $PATH: No such file or directory', 127],
  ['crun, not executable', 'open executable: Permission denied', 126],
])('startFailure: %s', (_, reason, exitCode) => {
  const error = startFailure(
    'start container "c1"',
    `${line('ignored', 'warning')}\n${line(reason)}\n`,
  );
  expect(error).toBeInstanceOf(CommandError);
  expect(error).toMatchObject({ exitCode, message: `Cannot start container "c1": ${reason}` });
});

test('startFailure drops what the runtime says about itself', () => {
  const message =
    'runc run failed: unable to start container process: error during container init: cgroups are gone';
  expect(startFailure('start container "c1"', line(message))).toMatchObject({
    code: 'failed-precondition',
    message: 'Cannot start container "c1": cgroups are gone',
  });
});

test('startFailure takes a mount that is missing for no missing command', () => {
  const reason = 'error mounting "/no" to rootfs: stat /no: no such file or directory';
  expect(startFailure('start container "c1"', line(reason))).toMatchObject({
    code: 'failed-precondition',
  });
});

test('startFailure names the way out of a hybrid cgroup host', () => {
  expect(
    startFailure('start container "c1"', line('cgroups in hybrid mode not supported')),
  ).toMatchObject({
    code: 'unsupported',
    hint: expect.stringContaining('runc') as unknown,
  });
});

test.each(['', 'no json', '{"level":"error"', '[1]', line('x', 'warning')])(
  'startFailure bears the log %j',
  (log) => {
    expect(startFailure('start container "c1"', log).message).toContain('gave no reason');
  },
);
