import { Socket } from 'node:net';
import { ownOutput } from '../../common/own-output.js';
import type { ContainerHome } from '../../exec/container-home.js';
import { endByHangup } from '../end-by-hangup.js';
import { onImpatience } from '../interruption.js';

/**
 * Attaches this process's streams.
 * @param holds as of attachContainer
 * @returns the container's exit code; `undefined` where it goes on without us
 */
export async function attachHere(home: ContainerHome, holds: boolean): Promise<number | undefined> {
  const { attachContainer } = await import('../../exec/attach-container.js');
  const { overrides } = await home.requireRecord();
  using impatience = onImpatience();
  const departure = await attachContainer(home, {
    stdin: process.stdin,
    stdout: ownOutput(1),
    stderr: ownOutput(2),
    terminal: overrides.terminal === true,
    holds,
    signalSource: process,
    impatience: impatience.signal,
  });
  if (process.stdin instanceof Socket) process.stdin.unref(); // a file has none
  if (departure === 'hung up') endByHangup();
  if (departure === 'left') process.stderr.write(`\r\ndetached from ${home.id}\n`);
  const code = typeof departure === 'number' ? departure : undefined;
  if (impatience.signal.aborted) process.exit(code ?? 0); // with what nobody reads unwritten
  return code;
}
