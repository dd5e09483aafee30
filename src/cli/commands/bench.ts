import { Command } from 'commander';
import { onInterrupt } from '../interruption.js';
import { type ErrorCode, SiphonError } from '../../common/errors.js';
import { requireRoot, settingsOf } from '../settings.js';

/** What the benchmarks have for this command. */
interface Harness {
  bench: (words: object) => Promise<void>;
}

/** Lies beside the product, and is loaded for this command alone. */
const harness = '#bench/main.js';

/** `siphon bench [IMAGE] [-- CMD...]` */
export function benchCommand(): Command {
  return new Command('bench')
    .description('measure how fast images start, siphon beside others that are on this machine')
    .argument('[image]', 'as skopeo names it; without one, images made of Debian packages')
    .argument('[cmd...]', "instead of the image's own command")
    .option('--ready <regex>', "matches the line of IMAGE's output that says it is ready")
    .option('--images <name...>', 'of those made of Debian packages (default: all)')
    .option(
      '--scenarios <name...>',
      'starts, links, concurrent, index, unpack, reads (default: all)',
    )
    .option('--contestants <name...>', 'who takes part (default: everyone who is here)')
    .option('--rounds <number>', 'how often each one runs', '5')
    .option('--timeout <seconds>', 'what takes longer in one round is ended, and an error', '600')
    .option('--cache <dir>', 'for what is made once (default: ~/.cache/siphon-bench)')
    .option('--program <name=path...>', 'where a program is that is not on the path')
    .option('--output <file>', 'write the result there, as JSON')
    .option('--html <file>', 'write it there as a page with plots, in one file')
    .action(async (image: string | undefined, cmd: string[], options: object, command: Command) => {
      requireRoot('run the benchmark');
      const { json } = settingsOf(command);
      const { bench } = (await import(harness)) as Harness; // made by the same build
      const words = { image, command: cmd, json, signal: onInterrupt(), ...options };
      await bench(words).catch((error: unknown) => {
        throw asOurs(error);
      });
    });
}

/** The harness has modules of its own, whose errors are no instances of ours. */
function asOurs(error: unknown): unknown {
  if (!(error instanceof Error) || error.name !== 'SiphonError' || !('code' in error)) return error;
  return new SiphonError(error.code as ErrorCode, error.message, { cause: error }); // as its own says
}
