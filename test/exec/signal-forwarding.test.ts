import { forwardSignals } from '#src/exec/signal-forwarding.js';
import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';

function start(terminal: boolean) {
  const source = new EventEmitter();
  const seen: string[] = [];
  const stop = forwardSignals({
    source,
    terminal,
    forward: (signal) => seen.push(signal),
    kill: () => seen.push('kill'),
  });
  const send = (...signals: string[]): void => {
    for (const signal of signals) source.emit(signal, signal);
  };
  return { source, seen, stop, send };
}

test('forwardSignals hands on what asks for something', () => {
  const { seen, send } = start(false);
  send('SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGCHLD', 'SIGWINCH');
  expect(seen).toEqual(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2']);
});

test('forwardSignals hands on a new size to who has a terminal', () => {
  const { seen, send } = start(true);
  send('SIGWINCH');
  expect(seen).toEqual(['SIGWINCH']);
});

test('forwardSignals kills at the third request to end', () => {
  const { seen, send } = start(false);
  send('SIGINT', 'SIGHUP', 'SIGTERM', 'SIGHUP', 'SIGINT');
  expect(seen).toEqual(['SIGINT', 'SIGHUP', 'SIGTERM', 'SIGHUP', 'kill']);
});

test('forwardSignals leaves no listener', () => {
  const { source, stop } = start(true);
  expect(source.eventNames()).not.toEqual([]);
  stop();
  expect(source.eventNames()).toEqual([]);
});
