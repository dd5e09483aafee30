import type { ContainerHome } from '../../exec/container-home.js';

/** Attaches this process's streams. @returns the container's exit code; `undefined` where it goes on without us */
export async function attachHere(home: ContainerHome): Promise<number | undefined> {
  const { attachContainer } = await import('../../exec/attach-container.js');
  const { overrides } = await home.requireRecord();
  const code = await attachContainer(home, {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    terminal: overrides.terminal === true,
    signalSource: process,
  });
  process.stdin.unref();
  if (code === undefined) process.stderr.write(`\r\ndetached from ${home.id}\n`);
  return code;
}
