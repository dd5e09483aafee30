/** A signal that is aborted when the person presses Ctrl-C or the process is told to end. */
export function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(name, () => controller.abort(name));
  }
  return controller.signal;
}
