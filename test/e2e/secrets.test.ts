/**
 * Whatever lets siphon in somewhere is used here, against servers that quote it in their errors, and looked for
 * in all that siphon says: at the highest log level, in errors of commands and of gRPC, in metrics and status.
 */

import { once } from 'node:events';
import { chmod, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import {
  type IncomingMessage,
  type RequestOptions,
  type ServerResponse,
  get,
  request,
} from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { type DockerRegistry, startDockerRegistry } from '../../bench/programs/docker-registry.js';
import { startSiphonService } from '../../bench/programs/siphon-service.js';
import { errorMessage } from '#src/common/errors.js';
import { type DemoLayout, writeSmallLayout } from '../support/demo-layout.js';
import { type Sandbox, must, openSandbox } from '../support/sandbox.js';
import { type ScriptedServer, startScriptedServer } from '../support/scripted-server.js';
import { connectSnapshots } from '../support/snapshots-client.js';

const secrets = {
  password: 'password-of-a-login',
  token: 'token-of-the-service',
  identity: 'refresh-token-of-an-identity',
  signature: 'signature-of-a-store',
  helper: 'password-of-a-helper',
  header: 'key-of-a-hosts-file',
  proxy: 'password-of-a-proxy',
  url: 'password-in-a-url',
  query: 'signature-in-a-url',
};
type Secret = keyof typeof secrets;

const pairOf = (password: string): string => Buffer.from(`me:${password}`).toString('base64');
/** How a secret looks where it is sent. */
const formsOf = (secret: string): string[] => [secret, pairOf(secret)];

let sandbox: Sandbox;
let registry: DockerRegistry;
let image: DemoLayout;
/** Wants logins, and hands out blobs from a store of another name by signed URLs. */
let gateway: ScriptedServer;
/** Whose errors begin; `headers`: answers whose headers quote. */
let failing: 'nobody' | 'store' | 'gateway' | 'tokens' | 'headers';
const used = new Set<Secret>();
/** Everything that siphon said. */
let said = '';

beforeAll(async () => {
  sandbox = await openSandbox();
  image = await writeSmallLayout(sandbox);
  registry = await startDockerRegistry();
  const target = `docker://${registry.host}/app:latest`;
  await must('skopeo', 'copy', '-q', '--dest-tls-verify=false', image.source, target);
  gateway = await startScriptedServer((asked, answer) => void answerAsGateway(asked, answer));
  await logIn();
}, 60_000);

afterEach(() => {
  failing = 'nobody';
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await gateway?.close();
  await registry?.close();
  await sandbox?.[Symbol.asyncDispose]();
});

/** What the whole file's siphon finds in its environment. */
async function logIn(): Promise<void> {
  const helper = join(sandbox.directory, 'docker-credential-test');
  const answer = JSON.stringify({ Username: 'me', Secret: secrets.helper });
  await writeFile(helper, `#!/bin/sh\necho '${answer}'\n`);
  await chmod(helper, 0o755);
  const auth = pairOf(secrets.password);
  const path = join(sandbox.directory, 'auth.json');
  const auths = {
    [gateway.host]: { auth },
    'registry.test': { auth },
    [`${gateway.host}/identity`]: { identitytoken: secrets.identity },
  };
  await writeFile(
    path,
    JSON.stringify({ auths, credHelpers: { [`${gateway.host}/helper`]: 'test' } }),
  );
  vi.stubEnv('REGISTRY_AUTH_FILE', path);
  vi.stubEnv('PATH', `${sandbox.directory}:${process.env['PATH']}`);
}

async function answerAsGateway(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
  const { url = '/', method = '', headers } = asked;
  const { pathname, searchParams } = new URL(url, gateway.origin);
  const sent = `${url} ${JSON.stringify(headers)}`;
  noteUsed(sent);
  const refuse = (status: number, form = ''): void => {
    const shown = `${headers.authorization}, ${String(headers['x-key'])} ${form}`;
    const message = `not with ${shown}, at ${gateway.origin}${url}, that is ${url}`;
    answer.writeHead(status, { 'content-type': 'application/json' });
    answer.end(JSON.stringify({ errors: [{ code: 'DENIED', message }] }));
  };
  const [, place, name = ''] = pathname.split('/');
  if (place === 'token') {
    const form = method === 'POST' ? await textOf(asked) : '';
    noteUsed(form);
    const isKnown = form.includes(secrets.identity) || sent.includes(pairOf(secrets.password));
    if (!isKnown || failing === 'tokens') return refuse(401, form);
    answer.setHeader('content-type', 'application/json');
    answer.end(JSON.stringify({ token: secrets.token }));
    return;
  }
  if (place === 'tar') return refuse(404);
  if (place === 'store') {
    const isSigned = searchParams.get('signature') === secrets.signature;
    if (failing === 'store' || !isSigned) return refuse(403);
    return forward(asked, answer, pathname.replace('/store', '/v2/app/blobs'));
  }
  if (failing === 'headers') {
    const type = `text/${headers.authorization?.replaceAll(' ', '-')}; at=${url}`;
    answer.writeHead(200, { 'content-type': type, 'docker-content-digest': `sha256:${type}` });
    return void answer.end('{}');
  }
  if (failing === 'gateway') return refuse(500);
  const challenge = challengeFor(name, headers.authorization);
  if (challenge !== undefined) {
    answer.setHeader('www-authenticate', challenge);
    return refuse(401);
  }
  const digest = /\/blobs\/(sha256:[0-9a-f]+)$/.exec(pathname)?.[1];
  if (method !== 'GET' || digest === undefined)
    return forward(asked, answer, url.replace(`/${name}/`, '/app/'));
  const store = gateway.origin.replace('127.0.0.1', 'localhost');
  const location = `${store}/store/${digest}?signature=${secrets.signature}`;
  answer.writeHead(307, { location }).end();
}

function challengeFor(name: string, authorization: string | undefined): string | undefined {
  const isBasic = name === 'basic';
  const expected = isBasic ? `Basic ${pairOf(secrets.password)}` : `Bearer ${secrets.token}`;
  if (authorization === expected) return undefined;
  return isBasic ? 'Basic realm="x"' : `Bearer realm="${gateway.origin}/token",service="x"`;
}

function noteUsed(sent: string): void {
  for (const [name, secret] of Object.entries(secrets)) {
    if (formsOf(secret).some((form) => sent.includes(form))) used.add(name as Secret); // its keys
  }
}

/** To the real registry, which wants no login. */
function forward(asked: IncomingMessage, answer: ServerResponse, path: string): void {
  const [hostname, port] = registry.host.split(':');
  const { authorization: _, ...headers } = asked.headers;
  pass(asked, answer, { hostname, port, method: asked.method, path, headers });
}

function pass(asked: IncomingMessage, answer: ServerResponse, options: RequestOptions): void {
  const onward = request(options, (from) => {
    answer.writeHead(from.statusCode ?? 502, from.headers);
    from.pipe(answer);
  });
  onward.once('error', () => answer.destroy());
  asked.pipe(onward);
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** @returns whether it succeeded */
async function siphon(...args: string[]): Promise<boolean> {
  const { code, stdout, stderr } = await sandbox.siphon('--log-level', 'trace', ...args);
  said += stdout + stderr;
  return code === 0;
}

function nothingIsSaid(): void {
  for (const secret of Object.values(secrets).flatMap(formsOf)) {
    expect(said.includes(secret), secret).toBe(false);
  }
}

test('logins of every kind, pushing, and what is refused', async () => {
  expect(await siphon('index', 'build', '--push', `${gateway.host}/app:latest`)).toBe(true);
  expect(await siphon('pull', `${gateway.host}/basic:latest`)).toBe(true);
  expect(await siphon('pull', `${gateway.host}/identity:latest`)).toBe(true);
  expect(await siphon('pull', `${gateway.host}/helper:latest`)).toBe(false);
  failing = 'gateway';
  expect(await siphon('pull', `${gateway.host}/app:other`)).toBe(false);
  expect(said).toContain('DENIED: not with');
  failing = 'tokens';
  expect(await siphon('pull', `${gateway.host}/identity:another`)).toBe(false);
  failing = 'headers';
  expect(await siphon('pull', `${gateway.host}/basic:another`)).toBe(false);
  expect([...used]).toEqual(expect.arrayContaining(['password', 'token', 'identity', 'helper']));
  nothingIsSaid();
}, 60_000);

test('signed URLs, while they are good and after', async () => {
  const target = await sandbox.folder('mnt');
  expect(await siphon('mount', `${gateway.host}/app:latest`, target)).toBe(true);
  await readFile(join(target, 'etc/passwd'));
  failing = 'store';
  const file = await open(join(target, 'data/data-1.bin')).catch(() => undefined);
  expect(used).toContain('signature');
  await file?.close();
  expect(await siphon('umount', target)).toBe(true);
  expect(await siphon('pull', `${gateway.host}/basic@${image.manifest}`)).toBe(true);
  nothingIsSaid();
}, 60_000);

test('URLs of tars, with a password and a query', async () => {
  const target = await sandbox.folder('tar');
  const url = gateway.origin.replace('//', `//me:${secrets.url}@`);
  expect(await siphon('mount', `${url}/tar/x.tar?signature=${secrets.query}`, target)).toBe(false);
  expect(said).toContain('/tar/x.tar');
  expect([...used]).toEqual(expect.arrayContaining(['url', 'query']));
  nothingIsSaid();
});

test('a proxy with a password, and a key in a hosts file', async () => {
  let status = 0;
  const proxy = await startScriptedServer((asked, answer) => {
    noteUsed(JSON.stringify(asked.headers));
    if (status !== 0) return answer.writeHead(status).end();
    const { pathname, search } = new URL(asked.url ?? '');
    const [hostname, port] = gateway.host.split(':');
    const { method, headers } = asked;
    return pass(asked, answer, { hostname, port, method, path: pathname + search, headers });
  });
  vi.stubEnv('http_proxy', proxy.origin.replace('//', `//me:${secrets.proxy}@`));
  const folder = join(sandbox.directory, 'certs.d/registry.test');
  await mkdir(folder, { recursive: true });
  const hosts = `server = "http://registry.test"\n[header]\nx-key = "${secrets.header}"\n`;
  await writeFile(join(folder, 'hosts.toml'), hosts);
  const pull = ['--hosts-dir', join(sandbox.directory, 'certs.d'), 'pull'];
  await siphon(...pull, 'registry.test/basic');
  expect([...used]).toEqual(expect.arrayContaining(['proxy', 'header']));
  status = 407;
  expect(await siphon(...pull, 'registry.test/basic:refused')).toBe(false);
  await proxy.close();
  expect(await siphon(...pull, 'registry.test/basic:gone')).toBe(false);
  expect(said).toContain('the proxy wants another login');
  vi.stubEnv('http_proxy', undefined);
  nothingIsSaid();
}, 60_000);

test('the service: its log, its errors, its metrics and its status', async () => {
  await using place = await openSandbox();
  const metrics = join(place.directory, 'metrics');
  const config = join(place.directory, 'own.toml');
  await writeFile(config, `smallest_lazy_layer = 0\nmetrics_address = "${metrics}"\n`);
  const service = await startSiphonService(place, '--config', config, '--log-level', 'trace');
  const target = { address: service.address, snapshotter: 'siphon', namespace: 'test' };
  const snapshots = connectSnapshots(target);
  try {
    const prepare = async (repository: string): Promise<void> => {
      const layer = image.layers[0]?.digest ?? '';
      const remote = 'containerd.io/snapshot/remote/stargz';
      const labels = {
        'containerd.io/snapshot.ref': repository,
        [`${remote}.reference`]: `${gateway.host}/${repository}:latest`,
        [`${remote}.digest`]: layer,
        [`${remote}.layers`]: image.layers.map(({ digest }) => digest).join(),
      };
      const error = await snapshots
        .prepare(`extract-${repository}`, '', labels)
        .catch((thrown: unknown) => thrown);
      said += `${errorMessage(error)} ${JSON.stringify(error)}`;
    };
    for (const repository of ['app', 'basic', 'helper']) await prepare(repository);
    failing = 'store';
    await prepare('identity');
    failing = 'gateway';
    await prepare('other');
    const [shown] = (await once(get({ socketPath: metrics, path: '/metrics' }), 'response')) as [
      IncomingMessage,
    ];
    said += await textOf(shown);
    said += (await place.siphon('status', '--json')).stdout;
    said += (await place.siphon('status')).stdout;
  } finally {
    snapshots.close();
    await service.stop();
    said += service.log();
  }
  expect(said).toContain('"serving"');
  expect(said).toContain(`siphon_registry_requests_total{host="${gateway.host}",answer="4xx"}`);
  expect(said).toMatch(/already exists/);
  nothingIsSaid();
}, 60_000);

test('every secret was used', () => {
  expect([...used].toSorted()).toEqual(Object.keys(secrets).toSorted());
});
