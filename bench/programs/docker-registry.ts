/** Debian's `docker-registry` on a free loopback port, with its storage in a temporary folder. */

import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface DockerRegistryOptions {
  /** `basic` asks for {@link registryLogin}; the object makes clients fetch tokens. Default: open. */
  auth?: 'none' | 'basic' | TokenAuth;
  /** Paths of PEM files; with `clientAuthority` clients must show a certificate. Default: plain HTTP. */
  tls?: { certificate: string; key: string; clientAuthority?: string };
  /** Folder to store in, which stays. Default: one that goes with the registry. */
  storage?: string;
}

export interface TokenAuth {
  realm: string;
  service: string;
  issuer: string;
  /** Path of the PEM certificates whose keys sign tokens. */
  rootCertificates: string;
}

export interface DockerRegistry {
  /** `127.0.0.1:PORT` */
  host: string;
  /** The temporary folder; storage lies under `data`, unless it was named. */
  folder: string;
  /** What the registry logged so far. */
  log(): string;
  close(): Promise<void>;
}

/** The one user of a registry with `auth: 'basic'`. */
export const registryLogin = { username: 'siphon', password: 'open sesame' };
/** bcrypt, cost 5. */
const PASSWORD_HASH = '$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW';
const START_TIMEOUT = 30_000;

export async function startDockerRegistry(
  options: DockerRegistryOptions = {},
): Promise<DockerRegistry> {
  const folder = await mkdtemp(join(tmpdir(), 'siphon-registry-'));
  try {
    await writeFile(join(folder, 'htpasswd'), `${registryLogin.username}:${PASSWORD_HASH}\n`);
    // The registry reads JSON too: it is YAML.
    const config = join(folder, 'config.yml');
    await writeFile(config, JSON.stringify(configuration(folder, options)));
    return await launch(folder, config);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

function configuration(folder: string, options: DockerRegistryOptions): object {
  const { auth = 'none', tls, storage = join(folder, 'data') } = options;
  const clients = tls?.clientAuthority === undefined ? {} : { clientcas: [tls.clientAuthority] };
  return {
    version: '0.1',
    log: { level: 'info', accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: storage },
      delete: { enabled: true },
      maintenance: { uploadpurging: { enabled: false } },
    },
    http: {
      addr: '127.0.0.1:0',
      ...(tls === undefined
        ? {}
        : { tls: { certificate: tls.certificate, key: tls.key, ...clients } }),
    },
    ...(auth === 'none' ? {} : { auth: authConfiguration(folder, auth) }),
  };
}

function authConfiguration(folder: string, auth: 'basic' | TokenAuth): object {
  if (auth === 'basic') {
    return { htpasswd: { realm: 'siphon tests', path: join(folder, 'htpasswd') } };
  }
  const { realm, service, issuer, rootCertificates } = auth;
  return { token: { realm, service, issuer, rootcertbundle: rootCertificates } };
}

async function launch(folder: string, config: string): Promise<DockerRegistry> {
  // Killed with this process, so that a test run that is killed leaves no registry behind.
  const args = ['--pdeathsig', 'KILL', 'docker-registry', 'serve', config];
  const child = spawn('setpriv', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  const host = await new Promise<string>((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`docker-registry ${why}:\n${log}`));
    const timer = setTimeout(() => fail('did not start in time'), START_TIMEOUT);
    const listen = (chunk: Buffer): void => {
      log += chunk.toString('utf8');
      const address = /listening on (127\.0\.0\.1:[0-9]+)(?:, tls)?/.exec(log)?.[1];
      if (address !== undefined) {
        clearTimeout(timer);
        resolve(address);
      }
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.once('error', (error) => fail(error.message));
    child.once('close', () => fail('ended at once'));
  }).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return {
    host,
    folder,
    log: () => log,
    close: async () => {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
