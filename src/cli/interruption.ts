import { setMaxListeners } from 'node:events';

/** A signal that is aborted when the person presses Ctrl-C or the process is told to end. */
export function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // every part of the command may listen
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(name, () => controller.abort(name));
  }
  return controller.signal;
}
