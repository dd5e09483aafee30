import { fstatSync, writeSync } from 'node:fs';
import { Writable } from 'node:stream';
import { isatty } from 'node:tty';
import { makePatient } from './patient-stream.js';

/**
 * This process's standard output (1) or error (2), for what must not be lost unnoticed: Node's own streams of files
 * take it for done when the disk had room for a part. What cannot be written is told as the stream's `error`; where it
 * leads to a file, only of what was written by this very stream.
 */
export function ownOutput(fd: 1 | 2): Writable {
  if (isFile(fd)) return fileOutput(fd);
  const stream = fd === 1 ? process.stdout : process.stderr;
  makePatient(stream);
  return stream;
}

function fileOutput(fd: number): Writable {
  return new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      try {
        for (let at = 0; at < chunk.length;) at += writeSync(fd, chunk, at);
        done();
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
      }
    },
  });
}

/** Devices are written to as files are. */
function isFile(fd: number): boolean {
  const stats = fstatSync(fd);
  return !stats.isFIFO() && !stats.isSocket() && !isatty(fd);
}
