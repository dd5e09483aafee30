import { isatty } from 'node:tty';
import { SiphonError } from '../../common/errors.js';

/** @throws SiphonError `usage` where standard input is no terminal that `who` could have */
export function checkIsTerminal(who: string): void {
  if (isatty(0)) return;
  throw new SiphonError(
    'usage',
    `Cannot give ${who} a terminal: standard input is none, expected a terminal`,
  );
}

/** Columns and rows of the terminal that our output goes to, if it does. */
export function terminalSize(): [number, number] | undefined {
  return [process.stdout, process.stderr].find((stream) => stream.isTTY)?.getWindowSize();
}
