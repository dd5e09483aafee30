/** What every command takes, read once from the command line and the environment. */

import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type LogLevel, type Logger, createLogger, logLevels } from '../common/log.js';
import { SiphonError } from '../common/errors.js';
import { type FillAfter, defaultFillAfter, parseFillAfter } from '../layers/fill-after.js';
import type { RegistryAccess } from '../remote/registry.js';

/** Of root: the machine's. Of anybody else: in their own data folder (XDG base directories). */
export const defaultRoot =
  process.getuid?.() === 0
    ? '/var/lib/siphon'
    : join(process.env['XDG_DATA_HOME'] ?? join(homedir(), '.local/share'), 'siphon');

export interface Settings {
  root: string;
  platform?: string;
  plainHttp?: boolean;
  access: RegistryAccess;
  /** When layers begin to be brought here as a whole, in ms after they are served; absent: never. */
  fillAfter?: number;
  json: boolean;
  log: Logger;
}

export interface GlobalOptions {
  root: string;
  platform?: string;
  plainHttp?: boolean;
  hostsDir?: string;
  fillAfter: FillAfter;
  json?: boolean;
  logLevel: LogLevel;
}

/** Adds the options that stand before or after any command's name. */
export function addGlobalOptions(program: Command): Command {
  return program
    .addOption(
      new Option('--root <dir>', 'folder for content, layers and state')
        .env('SIPHON_ROOT')
        .default(defaultRoot),
    )
    .option('--platform <os/arch[/variant]>', 'platform to take from a multi-platform image')
    .option('--plain-http', 'speak plain HTTP to the registry (implied for loopback hosts)')
    .addOption(
      new Option('--hosts-dir <dir>', "containerd's certs.d: mirrors, certificates, headers").env(
        'SIPHON_HOSTS_DIR',
      ),
    )
    .addOption(
      new Option(
        '--fill-after <seconds>',
        'when the rest of mounted layers begins to be fetched, or "never"',
      )
        .env('SIPHON_FILL_AFTER')
        .default(defaultFillAfter)
        .argParser(fillAfterOf),
    )
    .option('--json', 'print results as JSON')
    .addOption(
      new Option('--log-level <level>', 'how much to log to standard error')
        .choices(logLevels)
        .default('warn'),
    );
}

/** The global options of a command that is running, wherever on its command line they stand. */
export function globalOptionsOf(command: Command): GlobalOptions {
  const best = new Map<string, { value: unknown; rank: number }>();
  for (let one: Command | null = command; one !== null; one = one.parent) {
    for (const [name, value] of Object.entries(one.opts())) {
      const rank = rankOf(one.getOptionValueSource(name));
      if (rank > (best.get(name)?.rank ?? -1)) best.set(name, { value, rank });
    }
  }
  const values = [...best].map(([name, { value }]) => [name, value]);
  return Object.fromEntries(values) as GlobalOptions; // addGlobalOptions gave every command these
}

/** Whether a person named the root, by option or environment. */
export function isRootGiven(command: Command): boolean {
  const sources = [command, command.parent].map((one) => one?.getOptionValueSource('root'));
  return sources.some((source) => rankOf(source) > 0);
}

/** What was typed counts more than the environment, and that more than a default. */
function rankOf(source: string | undefined): number {
  return ['default', 'env', 'cli'].indexOf(source ?? 'default');
}

/** The settings of a command that is running. */
export function settingsOf(command: Command): Settings {
  const options = globalOptionsOf(command);
  return {
    root: resolve(options.root),
    access: options.hostsDir === undefined ? {} : { hostsDirs: [resolve(options.hostsDir)] },
    ...fillTime(options.fillAfter),
    json: options.json === true,
    log: createLogger(options.logLevel),
    ...(options.platform === undefined ? {} : { platform: options.platform }),
    ...(options.plainHttp === undefined ? {} : { plainHttp: options.plainHttp }),
  };
}

/** Milliseconds, for whoever opens layers. */
export function fillTime(seconds: FillAfter): { fillAfter?: number } {
  return seconds === 'never' ? {} : { fillAfter: seconds * 1000 };
}

function fillAfterOf(text: string): FillAfter {
  const after = parseFillAfter(text);
  if (after === undefined) throw new InvalidArgumentError('expected seconds, or "never".');
  return after;
}

/** @throws SiphonError `permission` where this process is not root */
export function requireRoot(what: string): void {
  if (process.getuid?.() === 0) return;
  throw new SiphonError('permission', `Cannot ${what}: this needs root, expected user id 0`, {
    hint: 'Run it with sudo.',
  });
}
