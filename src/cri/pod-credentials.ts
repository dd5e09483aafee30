/**
 * Credentials that pods bring along with their images, by repository: while an image is pulled, those of the
 * pull; once it is here, for as long as layers are read from there. Those of a pull that fails are worth
 * nothing. Pods may bring different ones for one repository; where the latest are refused, the ones before are
 * asked for. They are in memory, and in a sealed file for the server that follows this one.
 */

import { errorMessage } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { type Fields, field, fieldsOf } from '../common/own-json.js';
import type { SealedFile } from '../common/sealed-file.js';
import type { CredentialSource, Credentials } from '../remote/credentials.js';
import { isSameLogin } from '../remote/same-login.js';
import type { AuthorizedPull } from './pull-request.js';

/** Repositories whose credentials are kept; the oldest go first. */
const MAX_KEPT = 4096;
/** Credentials that are kept for one repository; those used for a pull the longest time ago go first. */
const MAX_EACH = 4;

export interface PodCredentialsOptions {
  /** Where they are for the next server; without, they end with this one. */
  file?: SealedFile | undefined;
  log: Logger;
}

/** Tells how a pull ended; over when what is to be kept is. */
export type PullEnd = (outcome: 'pulled' | 'failed') => Promise<void>;

export class PodCredentials implements AsyncDisposable {
  readonly #options: PodCredentialsOptions;
  /** Oldest first; of each the latest first. */
  readonly #kept = new Map<string, readonly Credentials[]>();
  /** Of pulls that go on, by repository, the latest last. */
  readonly #pulling = new Map<string, Credentials[]>();
  readonly #loaded: Promise<void>;
  #wanted: (() => ReadonlySet<string>) | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(options: PodCredentialsOptions) {
    this.#options = options;
    this.#loaded = this.#load();
  }

  /** From now on what is read of the repository is read with these credentials. */
  begin({ reference, credentials }: AuthorizedPull): PullEnd {
    const key = keyOf(reference.host, reference.repository);
    const others = this.#pulling.get(key) ?? [];
    this.#pulling.set(key, [...others, credentials]);
    return async (outcome) => {
      const rest = (this.#pulling.get(key) ?? []).filter((one) => one !== credentials);
      if (rest.length > 0) this.#pulling.set(key, rest);
      else this.#pulling.delete(key);
      if (outcome === 'pulled') await this.#keep(key, credentials);
    };
  }

  /** Those of pods first, then those of `others`. */
  before(others: CredentialSource): CredentialSource {
    return async (host, repository, refused = []) => {
      await this.#loaded;
      const key = keyOf(host, repository);
      const pulling = this.#pulling.get(key)?.toReversed() ?? [];
      const own = [...pulling, ...(this.#kept.get(key) ?? [])];
      const found = own.find((one) => !refused.some((other) => isSameLogin(one, other)));
      return found ?? (await others(host, repository, refused));
    };
  }

  /** @param wanted `host/repository` of what layers are read from; credentials for others are not kept */
  keepFor(wanted: () => ReadonlySet<string>): void {
    this.#wanted = wanted;
  }

  /** Waits until what is to be kept is written. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loaded;
    await this.#saving;
  }

  async #keep(key: string, credentials: Credentials): Promise<void> {
    await this.#loaded;
    this.#add(key, credentials);
    const wanted = this.#wanted?.();
    for (const one of this.#kept.keys()) {
      if (this.#kept.size > MAX_KEPT || wanted?.has(one) === false) this.#kept.delete(one);
    }
    await (this.#saving = this.#saving.then(() => this.#save()));
  }

  #add(key: string, credentials: Credentials): void {
    const others = (this.#kept.get(key) ?? []).filter((one) => !isSameLogin(one, credentials));
    this.#kept.delete(key);
    this.#kept.set(key, [credentials, ...others].slice(0, MAX_EACH));
  }

  async #save(): Promise<void> {
    const { file, log } = this.#options;
    const entries = [...this.#kept].flatMap(([key, all]) =>
      all.toReversed().map((credentials) => ({ key, ...credentials })),
    );
    try {
      if (entries.length === 0) await file?.remove();
      else await file?.write(Buffer.from(JSON.stringify(entries)));
    } catch (error) {
      log.warn({ error: errorMessage(error) }, 'credentials of pods are not kept for a restart');
    }
  }

  /** What was sealed with another key is of an earlier service, and of no use. */
  async #load(): Promise<void> {
    const { file, log } = this.#options;
    try {
      const bytes = await file?.read();
      if (bytes === undefined) return await file?.remove();
      for (const entry of JSON.parse(bytes.toString('utf8')) as unknown[]) {
        const fields = fieldsOf(entry, 'credentials');
        const key = field(fields, 'key', 'string');
        this.#add(key, credentialsOf(fields));
      }
    } catch {
      // No cause is told: a JSON error quotes the text.
      log.warn('credentials of pods that were kept cannot be read');
    }
  }
}

function credentialsOf(fields: Fields): Credentials {
  const optional = (name: 'identityToken' | 'registryToken'): Partial<Credentials> =>
    fields[name] === undefined ? {} : { [name]: field(fields, name, 'string') };
  return {
    username: field(fields, 'username', 'string'),
    password: field(fields, 'password', 'string'),
    ...optional('identityToken'),
    ...optional('registryToken'),
  };
}

function keyOf(host: string, repository: string): string {
  return `${host}/${repository}`;
}
