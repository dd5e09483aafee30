/** Pseudo terminals (pty(7)): the side that a program sees, and the side that plays the terminal. */

import { closeSync, constants, openSync } from 'node:fs';
import { koffi } from './koffi.js';
import { SystemError } from './libc.js';

const O_RDWR = constants.O_RDWR;
const O_NOCTTY = constants.O_NOCTTY;
/** O_CLOEXEC of <fcntl.h>, the same on every architecture Node runs on. */
const O_CLOEXEC = 0o2000000;
/** Of <asm-generic/ioctls.h>. */
const TIOCSWINSZ = 0x5414;
const TCSANOW = 0;
/** At least the size of struct termios on every architecture. */
const TERMIOS_SIZE = 256;
const NAME_SIZE = 64;

const libc = koffi.load(null);
const posix_openpt_ = libc.func('int posix_openpt(int flags)');
const grantpt_ = libc.func('int grantpt(int fd)');
const unlockpt_ = libc.func('int unlockpt(int fd)');
const ptsname_r_ = libc.func('int ptsname_r(int fd, void *name, size_t size)');
const tcgetattr_ = libc.func('int tcgetattr(int fd, void *termios)');
const tcsetattr_ = libc.func('int tcsetattr(int fd, int action, void *termios)');
const cfmakeraw_ = libc.func('void cfmakeraw(void *termios)');
const ioctl_ = libc.func('int ioctl(int fd, unsigned long request, void *argument)');

export interface Pty {
  /** File descriptors, closed on exec; the caller closes them. */
  master: number;
  slave: number;
}

/** A new pseudo terminal that hands on every byte as it is. */
export function openPty(): Pty {
  const master = Number(posix_openpt_(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (master < 0) throw new SystemError('posix_openpt', koffi.errno(), 'a terminal');
  try {
    const slave = openSync(slaveName(master), O_RDWR | O_NOCTTY);
    makeRaw(slave);
    return { master, slave };
  } catch (error) {
    closeSync(master);
    throw error;
  }
}

/**
 * Makes the terminal `fd` hand on every byte both ways. (Node's raw mode goes on putting a carriage return
 * before each line feed that is printed.)
 * @returns what makes it as it was
 */
export function enterRawMode(fd: number): () => void {
  const before = getTermios(fd);
  setTermios(fd, rawTermios(before));
  return () => {
    try {
      setTermios(fd, before);
    } catch {
      // It is gone.
    }
  };
}

/** Tells the programs on the terminal its size, in characters. */
export function setWindowSize(fd: number, columns: number, rows: number): void {
  const size = Buffer.from(new Uint16Array([rows, columns, 0, 0]).buffer);
  if (ioctl_(fd, TIOCSWINSZ, size) !== 0) {
    throw new SystemError('ioctl', koffi.errno(), 'TIOCSWINSZ');
  }
}

function slaveName(master: number): string {
  const name = Buffer.alloc(NAME_SIZE);
  const failed = grantpt_(master) !== 0 || unlockpt_(master) !== 0;
  if (failed || ptsname_r_(master, name, name.length) !== 0) {
    throw new SystemError('ptsname_r', koffi.errno(), 'a terminal');
  }
  return name.toString('latin1', 0, name.indexOf(0));
}

function makeRaw(fd: number): void {
  setTermios(fd, rawTermios(getTermios(fd)));
}

function getTermios(fd: number): Buffer {
  const termios = Buffer.alloc(TERMIOS_SIZE);
  if (tcgetattr_(fd, termios) !== 0) throw new SystemError('tcgetattr', koffi.errno(), String(fd));
  return termios;
}

function rawTermios(termios: Buffer): Buffer {
  const raw = Buffer.from(termios);
  cfmakeraw_(raw);
  return raw;
}

function setTermios(fd: number, termios: Buffer): void {
  if (tcsetattr_(fd, TCSANOW, termios) !== 0) {
    throw new SystemError('tcsetattr', koffi.errno(), String(fd));
  }
}
