import { Command } from 'commander';
import type { Finding } from '../../monitor/doctor/finding.js';
import { exitFailed } from '../exit-status.js';
import { formatTable } from '../format.js';
import { settingsOf } from '../settings.js';

interface DoctorOptions {
  containerdConfig: string;
  containerd: string;
}

/** `siphon doctor` */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('look whether this machine has what siphon needs')
    .option('--containerd <socket>', "containerd's socket", '/run/containerd/containerd.sock')
    .option(
      '--containerd-config <file>',
      "containerd's configuration",
      '/etc/containerd/config.toml',
    )
    .action(async (options: DoctorOptions, command: Command) => {
      const { root, json } = settingsOf(command);
      const { examine } = await import('../../monitor/doctor/examine.js');
      const findings = await examine({
        root,
        containerdConfig: options.containerdConfig,
        containerdSocket: options.containerd,
      });
      process.stdout.write(json ? `${JSON.stringify(findings, undefined, 2)}\n` : textOf(findings));
      if (findings.some(({ result }) => result === 'fail')) process.exitCode = exitFailed;
    });
}

function textOf(findings: readonly Finding[]): string {
  const rows = findings.map(({ check, result, detail, advice }) => [
    result,
    check,
    advice === undefined ? detail : `${detail}. ${advice}`,
  ]);
  return formatTable(['', 'CHECK', 'FOUND'], rows);
}
