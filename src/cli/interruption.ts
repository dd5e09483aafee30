import { setMaxListeners } from 'node:events';
import { PATIENCE } from '../exec/signal-forwarding.js';

/**
 * How soon a second signal may follow without meaning more than the first, in ms: a terminal tells
 * the server and its keeper, which passes it on.
 */
const echo = 500;

/**
 * A signal that is aborted when the person presses Ctrl-C or the process is told to end; told again,
 * the process ends at once.
 */
export function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // every part of the command may listen
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const interrupt = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) return;
    controller.abort(name);
    setTimeout(() => {
      for (const one of names) process.off(one, interrupt);
    }, echo).unref();
  };
  for (const name of names) process.on(name, interrupt);
  return controller.signal;
}

export interface Impatience extends Disposable {
  /** Aborted when the person has asked so often that a container is killed: nothing is to be waited for any more. */
  readonly signal: AbortSignal;
}

/** Counts until it is disposed of; from then on a signal has its own effect again. */
export function onImpatience(): Impatience {
  const controller = new AbortController();
  let asked = 0;
  const count = (): void => {
    if (++asked >= PATIENCE) controller.abort();
  };
  const names = ['SIGINT', 'SIGTERM'] as const;
  for (const name of names) process.on(name, count);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const name of names) process.off(name, count);
    },
  };
}
