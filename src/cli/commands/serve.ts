import { Command } from 'commander';
import { defaultRoot, isRootGiven, requireRoot, settingsOf } from '../settings.js';

const defaultAddress = '/run/siphon/siphon.sock';

/** `siphon serve` */
export function serveCommand(): Command {
  return new Command('serve')
    .description('be a snapshotter for containerd (proxy_plugins)')
    .option('--config <file>', 'TOML file: root, address, lazy, smallest_lazy_layer, …')
    .option('--address <socket>', `unix socket to listen on (default: ${defaultAddress})`)
    .action(async (options: { config?: string; address?: string }, command: Command) => {
      requireRoot('serve snapshots');
      const { underKeeper } = await import('../under-keeper.js');
      const { readConfig } = await import('../config.js');
      const config = await readConfig(options.config);
      const settings = settingsOf(command);
      const given = isRootGiven(command);
      const root = given ? settings.root : (config.root ?? defaultRoot);
      const { requireWritableRoot } = await import('../../layers/root-claim.js');
      requireWritableRoot(root);
      const { SpaceReserve } = await import('../../common/space-reserve.js');
      new SpaceReserve(root, settings.log).spendAtStart();
      const { listenerWords, serviceListener } = await import('../service-listener.js');
      const address = options.address ?? config.address ?? defaultAddress;
      const listener = await serviceListener(address);
      const keeper = await underKeeper(root, settings.log, listenerWords(listener));
      const { runService } = await import('../service.js');
      const access = config.hosts_dir === undefined ? {} : { hostsDirs: [config.hosts_dir] };
      await runService(
        { ...config, root, address, listener, access: { ...access, ...settings.access } },
        settings.log,
        keeper,
      );
    });
}
