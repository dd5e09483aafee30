/** Logging: structured lines on standard error (pino), one logger per part (`log.child`). */

import { type Logger as PinoLogger, destination, pino } from 'pino';
import { withoutSecretsInJson } from './secrets.js';

export type Logger = PinoLogger;
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/**
 * A logger that writes JSON lines to standard error, synchronously, so that no line is lost at exit; without what
 * this process knows to be secret.
 */
export function createLogger(level: LogLevel): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      hooks: { streamWrite: withoutSecretsInJson },
    },
    destination({ fd: 2, sync: true }),
  );
}

/** A logger that says nothing, for callers that gave none. */
export const silentLogger: Logger = pino({ level: 'silent' });
