/** Whether containerd runs here and knows siphon. */

import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { errorMessage } from '../../common/errors.js';
import type { Finding } from './finding.js';

/** containerd's configuration file and socket. */
export interface ContainerdPlaces {
  containerdConfig: string;
  containerdSocket: string;
}

const configSchema = z.object({
  proxy_plugins: z
    .record(z.string(), z.object({ type: z.string().optional(), address: z.string().optional() }))
    .optional(),
});

const SECTION =
  '[proxy_plugins.siphon] with type = "snapshot" and the address that siphon serve has';

export async function examineContainerd(at: ContainerdPlaces): Promise<Finding[]> {
  return Promise.all([examineSocket(at.containerdSocket), examineConfig(at.containerdConfig)]);
}

async function examineSocket(path: string): Promise<Finding> {
  const check = 'containerd';
  const problem = await problemOf(path);
  if (problem === undefined) return { check, result: 'ok', detail: `answers at ${path}` };
  const advice = 'Start containerd; siphon mount, run and unpack work without.';
  return { check, result: 'warn', detail: `no answer at ${path}: ${problem}`, advice };
}

async function examineConfig(path: string): Promise<Finding> {
  const check = 'containerd plugin';
  try {
    const { proxy_plugins: plugins = {} } = configSchema.parse(parse(await readFile(path, 'utf8')));
    const found = Object.entries(plugins).find(
      ([name, { type, address }]) =>
        type === 'snapshot' && (name === 'siphon' || address?.includes('siphon') === true),
    );
    if (found !== undefined) {
      const detail = `snapshotter "${found[0]}" at ${found[1].address ?? 'no address'}`;
      return { check, result: 'ok', detail };
    }
    const detail = `${path} has no snapshotter of siphon`;
    return { check, result: 'warn', detail, advice: `Add ${SECTION}.` };
  } catch (error) {
    const advice = `Make one with ${SECTION}.`;
    return { check, result: 'warn', detail: errorMessage(error), advice };
  }
}

/** Why nobody can connect, or `undefined`. */
function problemOf(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => (socket.destroy(), resolve(undefined)));
    socket.once('error', (error) => resolve(errorMessage(error)));
  });
}
