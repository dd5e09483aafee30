/** The files passwd(5) and group(5), as far as starting a process needs them. */

export interface Account {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

export interface Group {
  name: string;
  gid: number;
  members: string[];
}

/** The largest id that container runtimes take. */
export const MAX_ID = 2 ** 31 - 1;

/** Lines that are no accounts are passed over, as libc does. */
export function parsePasswd(text: string): Account[] {
  const accounts: Account[] = [];
  for (const [name = '', , uid, gid, , home = ''] of records(text)) {
    const ids = [parseId(uid), parseId(gid)] as const;
    if (name === '' || ids[0] === undefined || ids[1] === undefined) continue;
    accounts.push({ name, uid: ids[0], gid: ids[1], home });
  }
  return accounts;
}

/** As {@link parsePasswd}. */
export function parseGroup(text: string): Group[] {
  const groups: Group[] = [];
  for (const [name = '', , id, members = ''] of records(text)) {
    const gid = parseId(id);
    if (name === '' || gid === undefined) continue;
    groups.push({ name, gid, members: members.split(',').filter((member) => member !== '') });
  }
  return groups;
}

/** A decimal user or group id from 0 to {@link MAX_ID}, or `undefined`. */
export function parseId(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

function records(text: string): string[][] {
  return text.split('\n').map((line) => line.trim().split(':'));
}
