/** Docker's credential helper protocol: a program gets a server's name and answers a JSON object. */

import { spawn } from 'node:child_process';
import { z } from 'zod';
import { SiphonError } from '../common/errors.js';
import { parseDocument } from './descriptor.js';
import { RemoteError } from './remote-error.js';

/** How long a credential helper may take, in ms. */
const HELPER_TIMEOUT = 10_000;
/** Longest answer of a helper, in bytes. */
const MAX_ANSWER = 256 * 1024;
const HELPER_NAME = /^[\w.-]+$/;

/** What a helper stores for a server. */
export interface HelperAnswer {
  username: string;
  password: string;
  /** An OAuth2 refresh token, which stands in for the other two. */
  identityToken?: string;
}

const helperSchema = z.object({ Username: z.string(), Secret: z.string() });

/**
 * Asks `docker-credential-<name>`; `undefined` where it has no credentials for `server`.
 * @throws SiphonError `invalid` for a malformed name or answer, `unavailable` where it does not run or
 * says nothing in time
 */
export async function askHelper(
  name: string,
  server: string,
  environment: NodeJS.ProcessEnv,
  timeout = HELPER_TIMEOUT,
): Promise<HelperAnswer | undefined> {
  if (!HELPER_NAME.test(name)) {
    throw new SiphonError('invalid', `Cannot ask credential helper "${name}": malformed name`);
  }
  const output = await runHelper(`docker-credential-${name}`, server, { environment, timeout });
  if (output === undefined) return undefined;
  const answer = parseAnswer(output, name);
  const isToken = answer.Username === '<token>';
  return {
    username: isToken ? '' : answer.Username,
    password: isToken ? '' : answer.Secret,
    ...(isToken ? { identityToken: answer.Secret } : {}),
  };
}

/** No cause is kept: a JSON error quotes the text, which holds a password. */
function parseAnswer(text: string, name: string): z.infer<typeof helperSchema> {
  const thing = `answer of credential helper "${name}"`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new SiphonError('invalid', `Cannot read ${thing}: it is not JSON`);
  }
  return parseDocument(helperSchema, value, thing);
}

/** Standard output of the helper, or `undefined` where it exits otherwise: it has no credentials. */
function runHelper(
  command: string,
  input: string,
  { environment, timeout }: { environment: NodeJS.ProcessEnv; timeout: number },
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, ['get'], {
      env: { ...process.env, ...environment },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    // What the helper has started itself may outlive it, and keep its output open.
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout.destroy();
      reject(tooSlow(command, timeout));
    }, timeout);
    const chunks: Buffer[] = [];
    let size = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_ANSWER) chunks.push(chunk);
      else {
        child.kill('SIGKILL');
        reject(tooLong(command));
      }
    });
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(
        new SiphonError(
          'unavailable',
          `Cannot ask credential helper "${command}": it does not run`,
          {
            cause,
          },
        ),
      );
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve(code === 0 ? Buffer.concat(chunks).toString('utf8') : undefined);
    });
    // A helper that exits early closes its input; its exit code tells.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

/** Worth trying again: what it asks may have been away. */
function tooSlow(command: string, milliseconds: number): RemoteError {
  return new RemoteError(
    'unavailable',
    `Cannot ask credential helper "${command}": no answer for ${milliseconds / 1000} s`,
  );
}

function tooLong(command: string): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot ask credential helper "${command}": its answer is too long, expected at most ${MAX_ANSWER} bytes`,
  );
}
