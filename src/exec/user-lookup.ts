/**
 * Which ids a process of an image runs with: the `User` of an image config looked up in the image's
 * own /etc/passwd and /etc/group, by docker's rules. A number is always an id, with or without an
 * account. A group that is named is the only one; without one, the account's own group comes with
 * all groups that list the account as a member.
 */

import { SiphonError } from '../common/errors.js';
import { type Account, type Group, MAX_ID, parseGroup, parseId, parsePasswd } from './accounts.js';
import { readInRootfs } from './rootfs-path.js';
import type { ProcessUser } from './runtime-spec.js';

/** Far above any real account file; a bound for hostile images. */
const MAX_ACCOUNT_FILE = 16 * 1024 * 1024;

export interface ResolvedUser extends ProcessUser {
  /** The account's home folder; `/` without an account. */
  home: string;
}

export interface AccountFiles {
  passwd: readonly Account[];
  group: readonly Group[];
}

/** Reads /etc/passwd and /etc/group inside `rootfs`; a missing file has no entries. */
export async function readAccountFiles(rootfs: string): Promise<AccountFiles> {
  const [passwd, group] = await Promise.all([
    readInRootfs(rootfs, '/etc/passwd', MAX_ACCOUNT_FILE),
    readInRootfs(rootfs, '/etc/group', MAX_ACCOUNT_FILE),
  ]);
  return {
    passwd: parsePasswd(passwd?.toString('utf8') ?? ''),
    group: parseGroup(group?.toString('utf8') ?? ''),
  };
}

/**
 * @param user `[USER][:GROUP]`, each a name or a number; empty is root
 * @throws SiphonError `invalid` where a name is not in the files or a number is out of range
 */
export function resolveUser(user: string, files: AccountFiles): ResolvedUser {
  const colon = user.indexOf(':');
  const userPart = colon < 0 ? user : user.slice(0, colon);
  const groupPart = colon < 0 ? '' : user.slice(colon + 1);
  const { uid, account } = findUser(userPart, files.passwd);
  const gid = groupPart === '' ? (account?.gid ?? 0) : findGroup(groupPart, files.group);
  const memberships = groupPart === '' ? groupsOf(account, files.group) : [];
  return {
    uid,
    gid,
    // The own group is listed too, so that permissions denied to it stay denied after setgid.
    additionalGids: [...new Set([gid, ...memberships])],
    home: account === undefined || account.home === '' ? '/' : account.home,
  };
}

function findUser(
  text: string,
  passwd: readonly Account[],
): { uid: number; account: Account | undefined } {
  const id = text === '' ? 0 : checkedId('user', text);
  const account = passwd.find((entry) =>
    id === undefined ? entry.name === text : entry.uid === id,
  );
  const uid = id ?? account?.uid;
  if (uid === undefined) throw unknownName('user', text, '/etc/passwd');
  return { uid, account };
}

function findGroup(text: string, groups: readonly Group[]): number {
  const gid = checkedId('group', text) ?? groups.find((entry) => entry.name === text)?.gid;
  if (gid === undefined) throw unknownName('group', text, '/etc/group');
  return gid;
}

function groupsOf(account: Account | undefined, groups: readonly Group[]): number[] {
  if (account === undefined) return [];
  return groups.filter((group) => group.members.includes(account.name)).map((group) => group.gid);
}

/** The id that `text` is, or `undefined` where it is a name. */
function checkedId(kind: 'user' | 'group', text: string): number | undefined {
  if (!/^\d+$/.test(text)) return undefined;
  const id = parseId(text);
  if (id === undefined) {
    throw new SiphonError(
      'invalid',
      `Cannot run as ${kind} "${text}": the number is too large, expected at most ${MAX_ID}`,
    );
  }
  return id;
}

function unknownName(kind: 'user' | 'group', name: string, file: string): SiphonError {
  return new SiphonError(
    'invalid',
    `Cannot run as ${kind} "${name}": the image's ${file} does not name it, expected one that it has`,
    { hint: `Give the ${kind}'s number instead.` },
  );
}
