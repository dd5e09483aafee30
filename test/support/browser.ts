/**
 * Debian's headless Chromium, spoken to through pipes in the DevTools protocol
 * (https://chromedevtools.github.io/devtools-protocol/).
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

const PROGRAM = 'chromium-headless-shell';
const PATIENCE = 30_000; // ms

export interface PageView {
  width: number;
  height: number;
  scheme: 'light' | 'dark';
}

export interface OpenedPage {
  /** What it printed on its console, exceptions and the browser's own complaints. */
  complaints: string[];
  /** Addresses that it asked for. */
  requests: string[];
  /** Changes how it is looked at. */
  view(view: PageView): Promise<void>;
  /** The value of an expression in the page, which must be JSON. */
  evaluate(expression: string): Promise<unknown>;
  /** A PNG of an element, which an expression gives. */
  screenshot(element: string): Promise<Buffer>;
}

export interface Browser extends AsyncDisposable {
  open(url: string, view: PageView): Promise<OpenedPage>;
}

/** Why there is no browser here, or `undefined`; for tests that skip. */
export function browserMissing(): string | undefined {
  const { error } = spawnSync(PROGRAM, ['--version'], { timeout: PATIENCE });
  return error === undefined ? undefined : `needs ${PROGRAM} on the path`;
}

export async function startBrowser(): Promise<Browser> {
  const profile = await mkdtemp(join(tmpdir(), 'siphon-browser-'));
  const options = ['--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--disable-dev-shm-usage'];
  const child = spawn(
    'setpriv',
    [
      '--pdeathsig',
      'KILL',
      PROGRAM,
      ...options,
      '--remote-debugging-pipe',
      `--user-data-dir=${profile}`,
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true },
  );
  const [, , , input, output] = child.stdio;
  const protocol = new Protocol(input as Writable, output as Readable);
  return {
    open: (url, view) => openPage(protocol, url, view),
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit');
      await Promise.race([protocol.send('Browser.close'), ended]);
      await ended;
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function openPage(protocol: Protocol, url: string, view: PageView): Promise<OpenedPage> {
  const { targetId } = await protocol.send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await protocol.send('Target.attachToTarget', { targetId, flatten: true });
  const send = (method: string, params: object = {}) => protocol.send(method, params, sessionId);
  const complaints: string[] = [];
  const requests: string[] = [];
  const loaded = protocol.next('Page.loadEventFired');
  protocol.listen((method, params) => {
    if (method === 'Network.requestWillBeSent') requests.push(params.request.url);
    if (method === 'Runtime.exceptionThrown') complaints.push(params.exceptionDetails.text);
    if (method === 'Log.entryAdded') complaints.push(params.entry.text);
    if (method === 'Runtime.consoleAPICalled') complaints.push(JSON.stringify(params.args));
  });
  for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await send(`${domain}.enable`);
  const look = async ({ width, height, scheme }: PageView): Promise<void> => {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: false };
    await send('Emulation.setDeviceMetricsOverride', metrics);
    const features = [{ name: 'prefers-color-scheme', value: scheme }];
    await send('Emulation.setEmulatedMedia', { features });
  };
  await look(view);
  await send('Page.navigate', { url });
  await loaded;
  const evaluate = async (expression: string): Promise<unknown> => {
    const options = { expression, returnByValue: true };
    const { result, exceptionDetails } = await send('Runtime.evaluate', options);
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
    return result.value as unknown;
  };
  return {
    complaints,
    requests,
    view: look,
    evaluate,
    async screenshot(element) {
      const box = await evaluate(`(({ x, y, width, height }) =>
        ({ x: x + scrollX, y: y + scrollY, width, height, scale: 1 }))(${element}.getBoundingClientRect())`);
      const options = { captureBeyondViewport: true, clip: box };
      const { data } = await send('Page.captureScreenshot', options);
      return Buffer.from(data, 'base64');
    },
  };
}

// Messages have no other shape than the protocol's, which the tests that use them show to be right.
// oxlint-disable-next-line typescript/no-explicit-any
type Message = any;

/** JSON messages with a zero byte behind each. */
class Protocol {
  readonly #input: Writable;
  readonly #waiting = new Map<
    number,
    { resolve: (result: Message) => void; reject: (error: Error) => void }
  >();
  readonly #listeners: ((method: string, params: Message) => void)[] = [];
  #count = 0;

  constructor(input: Writable, output: Readable) {
    this.#input = input;
    let begun = '';
    output.setEncoding('utf8').on('data', (text: string) => {
      const messages = `${begun}${text}`.split('\0');
      begun = messages.pop() ?? '';
      for (const message of messages) this.#take(JSON.parse(message));
    });
    output.once('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the browser ended'));
    });
    input.on('error', () => undefined); // whoever waits for an answer hears of it
  }

  send(method: string, params: object = {}, sessionId?: string): Promise<Message> {
    this.#count += 1;
    const id = this.#count;
    this.#input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${method} took too long`)), PATIENCE);
      const settle =
        <T>(done: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(late);
          this.#waiting.delete(id);
          done(value);
        };
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
    });
  }

  listen(listener: (method: string, params: Message) => void): void {
    this.#listeners.push(listener);
  }

  next(wanted: string): Promise<void> {
    return new Promise((resolve) => this.listen((method) => method === wanted && resolve()));
  }

  #take({ id, error, result, method, params }: Message): void {
    if (id === undefined) for (const listener of this.#listeners) listener(method, params);
    else if (error === undefined) this.#waiting.get(id)?.resolve(result);
    else this.#waiting.get(id)?.reject(new Error(error.message));
  }
}
