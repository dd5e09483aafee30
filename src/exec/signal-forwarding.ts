/**
 * Signals sent to us, handed on to a container. A process that is the first of its pid namespace
 * ignores signals it has no handler for, so asking again and again kills it in the end.
 */

/** Everything that asks a process for something; not what the kernel says about our own doings. */
const FORWARDED = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const;

/** The terminal's size changed: only of interest to who copies to and from one. */
const RESIZE = 'SIGWINCH';

const ENDING: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGTERM']);

/** As docker's command line: the third time is meant seriously. */
export const PATIENCE = 3;

export interface SignalForwarding {
  /** Emits signals by name, as `process` does. */
  source: NodeJS.EventEmitter;
  terminal: boolean;
  forward: (signal: NodeJS.Signals) => void;
  /** Called at the third SIGINT or SIGTERM, instead of `forward`. */
  kill: () => void;
}

/** @returns what ends the forwarding; from then on signals have their own effect again */
export function forwardSignals(forwarding: SignalForwarding): () => void {
  const { source, terminal, forward, kill } = forwarding;
  let endings = 0;
  const handle = (signal: NodeJS.Signals): void => {
    if (ENDING.has(signal) && ++endings >= PATIENCE) kill();
    else forward(signal);
  };
  const signals: readonly NodeJS.Signals[] = terminal ? [...FORWARDED, RESIZE] : FORWARDED;
  for (const signal of signals) source.on(signal, handle);
  return () => {
    for (const signal of signals) source.off(signal, handle);
  };
}
