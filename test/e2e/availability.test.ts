import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveLayout } from '#src/registry-server/serve-layout.js';
import {
  type Containerd,
  startContainerd,
  untilReconnected,
} from '../../bench/programs/containerd.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type SiphonService, startSiphonService } from '../../bench/programs/siphon-service.js';
import { dropPacketsTo, droppingMissing } from '../support/dropped-packets.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { type Labels, type Snapshots, connectSnapshots } from '../support/snapshots-client.js';

const missing = await droppingMissing();

let sandbox: Sandbox;
let image: DemoLayout;
let registry: DockerRegistry;
let reference: string;
let siphon: SiphonService;
let containerd: Containerd;

/** Pulls an image whose indexes are published, reads some of it, and takes the registry away. */
beforeAll(async () => {
  sandbox = await openSandbox();
  image = await writeSmallLayout(sandbox);
  registry = await startDockerRegistry();
  reference = `${registry.host}/app:latest`;
  await must(
    'skopeo',
    'copy',
    '-q',
    '--dest-tls-verify=false',
    image.source,
    `docker://${reference}`,
  );
  await using publisher = await openSandbox();
  const built = await publisher.siphon('index', 'build', '--push', `docker://${reference}`);
  expect(built, built.stderr).toMatchObject({ code: 0 });
  const config = join(sandbox.directory, 'patience.toml');
  await writeFile(config, 'smallest_lazy_layer = 0\nfetch_timeout = 4\nfill_after = "never"\n');
  siphon = await startSiphonService(sandbox, '--config', config);
  containerd = await startContainerd({ snapshotters: { siphon: siphon.address } });
  const pulled = await pull(containerd.namespace);
  expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
  expect(await shell('cat /srv/site/index.html')).toContain('the only page');
  await registry.close();
}, 120_000);

afterAll(async () => {
  await containerd?.close();
  await siphon?.stop();
  await registry?.close();
  await sandbox[Symbol.asyncDispose]();
}, 60_000);

function pull(namespace: string) {
  const there = ['--containerd', containerd.address, '--namespace', namespace];
  return sandbox.siphon('--json', 'pull', ...there, reference);
}

function shell(script: string): Promise<string> {
  return containerd.runToEnd(['--snapshotter', 'siphon', reference, 'test', 'sh', '-c', script]);
}

describe('without the registry', () => {
  it('containers start from what has been read before', async () => {
    expect(await shell('cat /srv/site/index.html')).toContain('the only page');
  }, 60_000);

  it('reads of anything else fail within the time they have, and the log says which layer and which host', async () => {
    const started = Date.now();
    const outcome = await shell(
      'cat /app/data/part-2.bin > /dev/null 2>/said; echo "$?"; cat /said',
    );
    expect(Date.now() - started).toBeLessThan(25_000);
    expect(outcome).toMatch(/^1\n/);
    expect(outcome).toContain('Input/output error');
    const layer = image.layers.at(-1)?.digest ?? '';
    const line = siphon
      .log()
      .split('\n')
      .find((one) => one.includes(layer) && one.includes('a read failed'));
    expect(line ?? siphon.log()).toContain(registry.host);
  }, 60_000);

  it('layers are prepared that are here', async () => {
    const other = `${containerd.namespace}-other`;
    const pulled = await pull(other);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    const { layers } = JSON.parse(pulled.stdout) as { layers: { how: string }[] };
    expect(layers.map(({ how }) => how)).toEqual(image.layers.map(() => 'prepared'));
    await containerd.ctr(['--namespace', other, 'images', 'rm', '--sync', reference]);
  }, 60_000);

  it('other layers are unavailable at once, and the answer says which layer and which host', async () => {
    const error = await refusedPrepare(registry.host);
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(error.details).toMatch(/connection refused/);
  }, 60_000);

  it.skipIf(missing !== undefined)(
    `so they are, within seconds, where packets are lost ${missing ?? ''}`,
    async () => {
      const lost = await serveLayout({ layout: image.layout });
      try {
        await using _ = await dropPacketsTo(lost.host);
        const started = Date.now();
        const error = await refusedPrepare(lost.host);
        expect(error.code).toBe(status.UNAVAILABLE);
        expect(Date.now() - started).toBeLessThan(20_000);
      } finally {
        await lost.close();
      }
    },
    60_000,
  );

  it('layers of a registry that answers with errors are left to containerd, and the log says why', async () => {
    const failing = await startScriptedServer((_, answer) => {
      answer.statusCode = 503;
      answer.end();
    });
    using snapshots = closing(connect());
    try {
      const mounts = await snapshots.client.prepare('test/1/strange', '', strange(failing.host));
      expect(mounts).toHaveLength(1);
      const said = siphon.log().split('\n');
      const line = said.find((one) => one.includes('left to containerd') && one.includes('503'));
      expect(line).toContain(failing.host);
      await snapshots.client.remove('test/1/strange');
    } finally {
      await failing.close();
    }
  }, 60_000);

  it('containers start after siphon was restarted', async () => {
    await siphon.stop();
    siphon = await startSiphonService(sandbox);
    await untilReconnected(containerd, 'siphon');
    expect(await shell('cat /srv/site/index.html')).toContain('the only page');
  }, 60_000);
});

const unknownLayer = `sha256:${'1'.repeat(64)}`;

/** Labels of a layer that nobody has seen, of an image at `host`. */
function strange(host: string): Labels {
  return {
    'containerd.io/snapshot.ref': unknownLayer,
    'containerd.io/snapshot/cri.image-ref': `${host}/never:seen`,
    'containerd.io/snapshot/cri.layer-digest': unknownLayer,
    'containerd.io/snapshot/cri.manifest-digest': unknownLayer,
  };
}

function connect(): Snapshots {
  return connectSnapshots({ address: siphon.address, snapshotter: '', namespace: 'test' });
}

/** How a Prepare of an unknown layer at `host` fails. */
async function refusedPrepare(host: string): Promise<ServiceError> {
  using snapshots = closing(connect());
  const outcome: unknown = await snapshots.client
    .prepare('test/1/strange', '', strange(host))
    .catch((thrown: unknown) => thrown);
  if (!(outcome instanceof Error)) throw new Error('the layer was prepared');
  const error = outcome as ServiceError; // what grpc-js fails with
  expect(error.details).toContain(unknownLayer);
  expect(error.details).toContain(host);
  expect(await snapshots.client.list()).not.toContainEqual(
    expect.objectContaining({ name: 'test/1/strange' }),
  );
  return error;
}

function closing<T extends { close(): void }>(client: T): Disposable & { client: T } {
  return { client, [Symbol.dispose]: () => client.close() };
}
