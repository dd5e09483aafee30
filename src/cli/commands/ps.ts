import { Command } from 'commander';
import type { ContainerDescription } from '../../exec/container-status.js';
import { formatSource, parseSource } from '../../content/source.js';
import { formatAge, formatTable } from '../format.js';
import { requireRoot, settingsOf } from '../settings.js';

interface Options {
  all?: boolean;
  quiet?: boolean;
}

/** Characters of a command line that are shown. */
const COMMAND_WIDTH = 30;

/** `siphon ps` */
export function psCommand(): Command {
  return new Command('ps')
    .description('show the containers of siphon run')
    .option('-a, --all', 'those too that do not run')
    .option('-q, --quiet', 'names only')
    .action(async (options: Options, command: Command) => {
      requireRoot('show containers');
      const { root, json } = settingsOf(command);
      const { ContainerHome } = await import('../../exec/container-home.js');
      const { describeContainer } = await import('../../exec/container-status.js');
      const homes = await ContainerHome.list(root);
      const described = await Promise.all(homes.map(describeContainer));
      const shown = described
        .filter(
          ({ status }) => options.all === true || (status !== 'created' && status !== 'exited'),
        )
        .toSorted((a, b) => createdAt(b).localeCompare(createdAt(a)));
      if (json) process.stdout.write(`${JSON.stringify(shown.map(factsOf), undefined, 2)}\n`);
      else if (options.quiet === true)
        process.stdout.write(shown.map(({ id }) => `${id}\n`).join(''));
      else process.stdout.write(tableOf(shown));
    });
}

function tableOf(shown: readonly ContainerDescription[]): string {
  const rows = shown.map((one) => [
    one.id,
    imageOf(one) ?? '?',
    commandOf(one),
    one.record === undefined ? '?' : formatAge(Date.now() - Date.parse(one.record.createdAt)),
    statusOf(one),
    one.pid === undefined ? '' : String(one.pid),
  ]);
  return formatTable(['NAME', 'IMAGE', 'COMMAND', 'CREATED', 'STATUS', 'PID'], rows);
}

function statusOf({ status, state }: ContainerDescription): string {
  const isOver = status === 'exited';
  const code = isOver && state.exitCode !== undefined ? ` (${state.exitCode})` : '';
  const notes = [
    ...(isOver && state.outOfMemory === true ? [', out of memory'] : []),
    ...(state.filesLost === true ? [', files lost'] : []),
  ];
  return `${status}${code}${notes.join('')}`;
}

function commandOf({ state, record }: ContainerDescription): string {
  const words = state.command ?? record?.overrides.args ?? [];
  const text = words
    .map((word) => (/^[\w./:=-]+$/.test(word) ? word : JSON.stringify(word)))
    .join(' ');
  return text.length > COMMAND_WIDTH ? `${text.slice(0, COMMAND_WIDTH - 1)}…` : text;
}

/** Without what a URL may hold of secrets. */
function imageOf({ record }: ContainerDescription): string | undefined {
  return record === undefined ? undefined : formatSource(parseSource(record.source));
}

function createdAt({ record }: ContainerDescription): string {
  return record?.createdAt ?? '';
}

function factsOf(one: ContainerDescription): object {
  const { id, status, pid, state, record } = one;
  const { monitor: _, status: _written, ...rest } = state;
  const { createdAt: created, labels, runtime, detached } = record ?? {};
  return {
    id,
    image: imageOf(one),
    status,
    pid,
    createdAt: created,
    labels,
    ...rest,
    runtime,
    detached,
  };
}
