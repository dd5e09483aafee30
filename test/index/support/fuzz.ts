/**
 * Damages well-formed inputs of a parser, again and again, and sees what it says of them. What it may do is
 * give a result or throw a SiphonError, soon and in little memory; anything else is a find. Everything
 * follows from one number, so that a find can be had again.
 */

import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorMessage, SiphonError } from '#src/common/errors.js';

export interface FuzzTarget {
  name: string;
  /** Inputs that are right, and cases that were found once. */
  seeds: readonly Buffer[];
  /** Puts right what a parser would stumble over at once, such as a checksum. */
  repair?: (input: Buffer) => void;
  /** Parses the input, and throws where its result is wrong. */
  run: (this: void, input: Buffer) => unknown;
}

export interface FuzzOptions {
  seed: number;
  /** Milliseconds. */
  budget: number;
}

/** Milliseconds that one input may take, on a busy machine. */
const MAX_TIME = 10_000;
/** Bytes that the process may grow. */
const MAX_GROWTH = 512 << 20;
/** Inputs are at most so long; that they cannot grow without end. */
const MAX_INPUT = 1 << 20;

/** @returns how many inputs were tried. @throws where one is a find, saying how to have it again */
export function fuzz(target: FuzzTarget, { seed, budget }: FuzzOptions): number {
  const random = randomFrom(seed);
  const started = performance.now();
  const before = process.memoryUsage.rss();
  let count = 0;
  for (; count === 0 || performance.now() - started < budget; count++) {
    const input = mutated(target, random);
    const problem = tryOne(target, input, before);
    if (problem !== undefined)
      throw found(target, input, `input ${count} of seed ${seed}: ${problem}`);
  }
  return count;
}

function tryOne(target: FuzzTarget, input: Buffer, before: number): string | undefined {
  const started = performance.now();
  try {
    target.run(Buffer.from(input));
  } catch (error) {
    if (!(error instanceof SiphonError))
      return error instanceof Error ? (error.stack ?? error.message) : errorMessage(error);
  }
  const time = performance.now() - started;
  if (time > MAX_TIME) return `it took ${Math.round(time)} ms`;
  const growth = process.memoryUsage.rss() - before;
  return growth > MAX_GROWTH ? `the process has grown by ${growth} bytes` : undefined;
}

function found(target: FuzzTarget, input: Buffer, problem: string): Error {
  const path = join(tmpdir(), `siphon-fuzz-${target.name.replaceAll(' ', '-')}-${process.pid}`);
  writeFileSync(path, input);
  return new Error(`${target.name}, ${problem}\nThe input is in ${path}.`);
}

/** Numbers in [0, 1) by mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Random = () => number;
type Mutation = (input: Buffer, random: Random, other: Buffer) => Buffer;

const below = (random: Random, limit: number): number => Math.floor(random() * limit);
const INTERESTING = [0, 1, 9, 0x0a, 0x20, 0x30, 0x37, 0x3d, 0x7f, 0x80, 0xff];
const WORDS = ['0', '-1', '99999999999', '777777777777', '\n', '=', '../', '/', '.wh.', '\0\0\0\0'];

const MUTATIONS: readonly Mutation[] = [
  function flipBit(input, random) {
    const at = below(random, input.length);
    input[at] = (input[at] ?? 0) ^ (1 << below(random, 8));
    return input;
  },
  function setByte(input, random) {
    input[below(random, input.length)] = INTERESTING[below(random, INTERESTING.length)] ?? 0;
    return input;
  },
  function writeWord(input, random) {
    input.write(WORDS[below(random, WORDS.length)] ?? '', below(random, input.length), 'latin1');
    return input;
  },
  function writeNumber(input, random) {
    const at = below(random, Math.max(input.length - 4, 1));
    for (let i = 0; i < 4 && at + i < input.length; i++) input[at + i] = below(random, 256);
    return input;
  },
  function cut(input, random) {
    return input.subarray(0, below(random, input.length) + 1);
  },
  function remove(input, random) {
    const [from, to] = range(input, random);
    return Buffer.concat([input.subarray(0, from), input.subarray(to)]);
  },
  function repeat(input, random) {
    const [from, to] = range(input, random);
    return Buffer.concat([input.subarray(0, to), input.subarray(from)]);
  },
  function splice(input, random, other) {
    const [from, to] = range(other, random);
    const at = below(random, input.length);
    return Buffer.concat([input.subarray(0, at), other.subarray(from, to), input.subarray(at)]);
  },
];

/** Often whole blocks, since most formats have them. */
function range(bytes: Buffer, random: Random): [from: number, to: number] {
  const unit = random() < 0.5 && bytes.length >= 512 ? 512 : 1;
  const units = Math.max(Math.floor(bytes.length / unit), 1);
  const from = below(random, units);
  return [from * unit, (from + 1 + below(random, Math.min(units - from, 64))) * unit];
}

function mutated({ seeds, repair }: FuzzTarget, random: Random): Buffer {
  const pick = (): Buffer => seeds[below(random, seeds.length)] ?? Buffer.alloc(1);
  let input = Buffer.from(pick());
  for (let times = 1 + below(random, 4); times > 0 && input.length > 0; times--) {
    const mutate = MUTATIONS[below(random, MUTATIONS.length)];
    if (mutate !== undefined) input = Buffer.from(mutate(input, random, pick()));
  }
  input = input.subarray(0, MAX_INPUT);
  if (random() < 0.8) repair?.(input);
  return input;
}
