/** A connection that outlives the process that serves it. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { MNT, umount } from '#src/ffi/libc.js';
import { openConnection } from '#src/fuse/device.js';
import { FuseSession } from '#src/fuse/fuse-session.js';
import { must } from '../support/sandbox.js';
import { fuseMissing, serveFolders } from '../support/served-folders.js';

const missing = fuseMissing();

/** Serves descriptor 3 with the layers it is told, and never fetches anything. */
const server = `
import { FuseSession } from '#src/fuse/fuse-session.js';
const { connection, layer } = JSON.parse(process.argv[1]);
await FuseSession.serve({ ...connection, device: 3 }, {
  fetch: () => new Promise(() => {}),
  layers: [{ ...layer, presence: new SharedArrayBuffer(layer.spans) }],
});
process.stdout.write('serving');`;

it.skipIf(missing !== undefined)(
  'a read that a killed server never answered is answered by the next one',
  async () => {
    // This one only packs and indexes.
    await using packer = await serveFolders();
    const source = await packer.folder('source');
    writeFileSync(join(source, 'file'), 'survives');
    await packer.add(1, source, { present: true });
    const layer = packer.served(1);

    const mountPoint = await packer.folder('second');
    const connection = openConnection(mountPoint);
    try {
      const argument = { connection, layer: { ...layer, spans: layer.presence.byteLength } };
      const first = spawn(
        process.execPath,
        ['--input-type=module', '-e', server, JSON.stringify(argument)],
        { stdio: ['ignore', 'pipe', 'inherit', connection.device] },
      );
      if (first.stdout !== null) await once(first.stdout, 'data');
      const reader = must('cat', join(mountPoint, '1', 'file'));
      await delay(300);
      first.kill('SIGKILL');
      await once(first, 'exit');
      const session = await FuseSession.serve(connection, {
        fetch: () => Promise.resolve(),
        layers: [layer],
        resume: true,
      });
      expect(await reader).toBe('survives');
      await session.unmount();
    } catch (error) {
      umount(mountPoint, MNT.DETACH);
      closeSync(connection.device);
      throw error;
    }
  },
);
