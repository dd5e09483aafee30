/**
 * An image to read while its server dies: many small files, one big one, and what a reader needs. One layer has an
 * extended attribute, the others have none, so both mounts of a server are read.
 */

import { join } from 'node:path';
import { directory, file, noise, withParents } from '../../demo/image/entry.js';
import {
  type ProgramPlan,
  findProgram,
  libraryEntries,
  programEntry,
  topLevelLinks,
} from '../../demo/image/host-programs.js';
import { writeLayout } from '../../demo/image/write-layout.js';
import { type Sandbox, must } from './sandbox.js';

export interface SurvivalImage {
  layout: string;
  /** As a siphon source. */
  source: string;
  /** What a pass of {@link readers} prints, by the reader's name. */
  expected: Record<Reader, string>;
}

/** Shell commands that read the image's folder `/data`, in that folder. */
export const readers = {
  listing: 'find . | sort | sha256sum',
  small: 'find small -type f -exec sha256sum {} + | sort | sha256sum',
  big: 'sha256sum <big',
} as const;

export type Reader = keyof typeof readers;

const smallFiles = 800;
/** By the file's number. */
const marks = [{ 'user.mark': 'the first' }];
const bigSize = 32 * 1024 * 1024;

export async function writeSurvivalImage(sandbox: Sandbox): Promise<SurvivalImage> {
  const layout = join(sandbox.directory, 'survival');
  const names = ['sh', 'find', 'sort', 'sha256sum', 'sleep', 'cat'];
  const programs = names.map(findProgram).filter((plan): plan is ProgramPlan => plan !== undefined);
  const base = [
    ...topLevelLinks(),
    ...programs.map((plan) => programEntry(plan)),
    ...(await libraryEntries(programs.map((plan) => plan.from))),
    ...['dev', 'proc', 'sys', 'run', 'tmp'].map((name) => directory(name)),
  ];
  const small = Array.from({ length: smallFiles }, (_, n) =>
    file(`data/small/${n % 20}/${n}`, noise(`small ${n}`, 1000 + n * 7), {
      xattrs: marks[n] ?? {},
    }),
  );
  await writeLayout({
    layout,
    tag: 'latest',
    layers: [
      { title: 'base', entries: withParents(base) },
      { title: 'small', entries: withParents(small) },
      { title: 'big', entries: withParents([file('data/big', noise('big', bigSize))]) },
    ],
    process: { Env: ['PATH=/usr/bin:/bin'], Cmd: ['sh'] },
  });
  const bundle = join(sandbox.directory, 'survival-bundle');
  await must('umoci', 'unpack', '--image', `${layout}:latest`, bundle);
  const data = join(bundle, 'rootfs/data');
  const print = (reader: Reader): Promise<string> =>
    must('sh', '-c', `cd "$1" && ${readers[reader]}`, 'sh', data);
  const expected = {
    listing: await print('listing'),
    small: await print('small'),
    big: await print('big'),
  };
  return { layout, source: `oci:${layout}:latest`, expected };
}
