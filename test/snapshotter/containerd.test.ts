/** Debian's containerd with siphon as its proxy plugin: what plain `ctr` users do. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentLogger } from '#src/common/log.js';
import { type SnapshotterServer, serveSnapshotter } from '#src/snapshotter/server.js';
import {
  type Containerd,
  containerdMissing,
  startContainerd,
} from '../../bench/programs/containerd.js';
import { buildShellImage, checkOutput, checkScript } from '../support/shell-image.js';

const missing = containerdMissing();

describe.skipIf(missing !== undefined)(
  `containerd with siphon ${missing ?? ''}`,
  { timeout: 120_000 },
  () => {
    let folder: string;
    let siphon: SnapshotterServer;
    let containerd: Containerd;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'siphon-snapshotter-'));
      const address = join(folder, 'siphon.sock');
      siphon = await serveSnapshotter({
        root: join(folder, 'root'),
        address,
        lazy: undefined,
        log: silentLogger,
      });
      containerd = await startContainerd({ snapshotters: { siphon: address } });
    }, 60_000);

    afterAll(async () => {
      await containerd?.close();
      await siphon?.close();
      await rm(folder, { recursive: true, force: true });
    }, 60_000);

    const snapshots = (...args: string[]) =>
      containerd.ctr(['snapshots', '--snapshotter', 'siphon', ...args]);

    test('prepares, commits, shows and removes snapshots', async () => {
      await snapshots('prepare', 'base-active');
      await snapshots('commit', 'base', 'base-active');
      const mounts = await snapshots('prepare', '--target', '/mnt', 'top', 'base');
      expect(mounts.stdout).toMatch(
        /^mount -t overlay overlay \/mnt -o .*workdir=.*,upperdir=.*,lowerdir=/,
      );
      expect((await snapshots('mounts', '/mnt', 'top')).stdout).toBe(mounts.stdout);
      expect((await snapshots('tree')).stdout).toBe(' base\n  \\_ top\n');
      expect((await snapshots('usage', 'top')).stdout).toMatch(/top\s+4\.0 KiB\s+1/);
      await expect(snapshots('rm', 'base')).rejects.toThrow(/remove/);
      await snapshots('rm', 'top');
      await snapshots('rm', 'base');
      expect((await snapshots('ls')).stdout).not.toContain('base');
    });

    test('unpacks an image and runs it', async () => {
      const image = await buildShellImage(join(folder, 'image'));
      const ctr = (args: readonly string[]) => containerd.ctr(args);
      await ctr([
        'images',
        'import',
        '--snapshotter',
        'siphon',
        '--index-name',
        'test.local/shell:latest',
        image.archive,
      ]);
      const shell = (script: string): Promise<string> => {
        const run = ['--snapshotter', 'siphon', 'test.local/shell:latest', 'shell'];
        return containerd.runToEnd([...run, '/bin/sh', '-c', script]);
      };
      expect(await shell(checkScript)).toBe(checkOutput);
      await expect(shell('echo failing >&2; exit 7')).rejects.toThrow('failing');
      const names = (await ctr(['images', 'ls', '-q'])).stdout.trim().split('\n');
      await ctr(['images', 'rm', '--sync', ...names]);
      expect((await snapshots('ls')).stdout.trim().split('\n')).toHaveLength(1);
    });
  },
);
