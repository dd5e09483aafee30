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

it.skipIf(missing !== undefined)(
  'only who asks for a layer that is not there yet waits for it, and may be killed meanwhile',
  async () => {
    await using packer = await serveFolders();
    for (const number of [1, 2, 3]) {
      const source = await packer.folder(`source-${number}`);
      writeFileSync(join(source, 'file'), `of layer ${number}`);
      await packer.add(number, source, { present: true });
    }
    const mountPoint = await packer.folder('second');
    const session = await FuseSession.serve(openConnection(mountPoint), {
      fetch: () => Promise.resolve(),
      layers: [packer.served(1)],
      awaited: [2, 3, 4],
    });
    const read = (layer: number): Promise<string> => must('cat', join(mountPoint, `${layer}/file`));
    const [late, never] = [2, 3].map((layer) =>
      read(layer).catch((error: unknown) => String(error)),
    );
    // Of those that look up one name at the same time, all but one wait for that one, killed or not.
    const killed = spawn('cat', [join(mountPoint, '4/file')], { stdio: 'ignore' });
    let isAnswered = false;
    void late?.then(() => (isAnswered = true));
    try {
      await delay(300);
      expect(await read(1)).toBe('of layer 1');
      killed.kill('SIGKILL');
      await once(killed, 'exit');
      expect(isAnswered).toBe(false);
      session.addLayer(packer.served(2));
      expect(await late).toBe('of layer 2');
      session.removeLayer(3);
      expect(await never).toContain('No such file');
    } finally {
      await session.unmount({ lazy: true });
    }
  },
);
