import { setImmediate } from 'node:timers/promises';
import { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { SiphonError, systemCode } from '../../common/errors.js';
import { ownOutput } from '../../common/own-output.js';
import { takesMore } from '../../common/patient-stream.js';
import type { ContainerHome } from '../../exec/container-home.js';
import { openHome } from '../containers/keep.js';
import { onInterrupt } from '../interruption.js';
import { requireRoot, settingsOf } from '../settings.js';

interface Options {
  follow?: boolean;
  tail?: number;
  timestamps?: boolean;
}

/** `siphon logs NAME` */
export function logsCommand(): Command {
  return new Command('logs')
    .description('show what a container has printed')
    .argument('<name>')
    .option('-f, --follow', 'go on until it ends')
    .option('--tail <lines>', 'only so many from the end', parseCount)
    .option('--timestamps', 'say when')
    .action(async (id: string, options: Options, command: Command) => {
      requireRoot('show the output of a container');
      await show(await openHome(id, command), options, settingsOf(command).json);
    });
}

async function show(home: ContainerHome, options: Options, json: boolean): Promise<void> {
  const { readLog } = await import('../../exec/read-log.js');
  const { describeContainer, isActive } = await import('../../exec/container-status.js');
  const { keepsOutput } = await import('../../exec/container-record.js');
  const { outputError } = await import('../../exec/output-error.js');
  const { follow = false, tail, timestamps = false } = options;
  if (!keepsOutput(await home.requireRecord())) throw notKept(home.id);
  const goesOn = async (): Promise<boolean> => isActive((await describeContainer(home)).status);
  const closed = new AbortController();
  let failure: Error | undefined;
  const fail = (error: Error): void => {
    // Whoever reads us, such as head(1), has had enough.
    if (systemCode(error) !== 'EPIPE') failure ??= error;
    closed.abort();
  };
  const outputs = { stdout: ownOutput(1), stderr: ownOutput(2) };
  for (const output of Object.values(outputs)) output.on('error', fail);
  const signal = AbortSignal.any([onInterrupt(), closed.signal]);
  const log = readLog(home.logFile, {
    signal,
    ...(tail === undefined ? {} : { tail }),
    ...(follow ? { follow: goesOn } : {}),
  });
  for await (const { time, output, data } of log) {
    if (signal.aborted) break;
    const target = outputs[json ? 'stdout' : output];
    const text = json
      ? `${JSON.stringify({ time, output, text: data.toString() })}\n`
      : timestamps
        ? Buffer.concat([Buffer.from(`${time} `), data])
        : data;
    if (!target.write(text)) await takesMore(target);
  }
  await setImmediate(); // an error of the last line is told then
  if (failure !== undefined) throw outputError(home.id, failure);
}

function parseCount(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('expected a number of lines');
  return Number(text);
}

function notKept(id: string): SiphonError {
  return new SiphonError(
    'failed-precondition',
    `Cannot show the output of container "${id}": it runs in the foreground and goes when it ends, expected one without --rm`,
  );
}
