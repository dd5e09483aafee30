/** The file type bits of `st_mode` (<sys/stat.h>). */
export const S_IF = {
  MT: 0o170000,
  DIR: 0o040000,
  REG: 0o100000,
  LNK: 0o120000,
  CHR: 0o020000,
  BLK: 0o060000,
  IFO: 0o010000,
} as const;

/** What is made in a directory with this bit gets the directory's group. */
export const S_ISGID = 0o2000;

export function isDirectory(mode: number): boolean {
  return (mode & S_IF.MT) === S_IF.DIR;
}

export function isSymlink(mode: number): boolean {
  return (mode & S_IF.MT) === S_IF.LNK;
}

export function isRegular(mode: number): boolean {
  return (mode & S_IF.MT) === S_IF.REG;
}
