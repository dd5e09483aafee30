import { setMaxListeners } from 'node:events';

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
