import { expect, test } from 'vitest';
import { SiphonError } from '#src/common/errors.js';
import {
  rememberSecret,
  withoutAnySecret,
  withoutSecrets,
  withoutSecretsInJson,
} from '#src/common/secrets.js';

test('a secret is hidden however it is written', () => {
  const secret = 'pass "w/ö rd+1';
  rememberSecret(secret);
  const form = new URLSearchParams({ p: secret }).toString();
  const told = `${secret} ${encodeURIComponent(secret)} ${form} ${JSON.stringify({ secret })}`;
  expect(withoutSecrets(told)).toBe('… … p=… {"secret":"…"}');
});

test('one that is part of another leaves nothing of it', () => {
  rememberSecret('part-of-it');
  rememberSecret('part-of-it-and-more');
  expect(withoutSecrets('part-of-it-and-more, part-of-it')).toBe('…, …');
});

test('short ones are hidden in the words of others, where they stand alone', () => {
  rememberSecret('a.b');
  expect(withoutAnySecret('not with a.b, nor xa.b or aab')).toBe('not with …, nor xa.b or aab');
  expect(withoutSecrets('not with a.b')).toBe('not with a.b');
});

test('one that may be a word is hidden where it stands alone, and leaves names that are made of it', () => {
  rememberSecret('registry');
  const told = 'me:registry@host, "registry", password=registry: wrong';
  expect(withoutSecrets(told)).toBe('me:…@host, "…", password=…: wrong');
  const names = 'registry.example:5000/team/registry:2, my-registry, registry-1, registries';
  expect(withoutSecrets(names)).toBe(names);
});

test('a line of JSON keeps its names and numbers', () => {
  rememberSecret('12345678');
  rememberSecret('longer "than" a word');
  const line = { bytes: 12345678, '12345678': 12345678, msg: 'not 12345678', deep: ['1"2'] };
  const told = JSON.stringify({ ...line, err: { message: 'a longer "than" a word\n' } });
  const shown = { ...line, msg: 'not …', err: { message: 'a …\n' } };
  expect(JSON.parse(withoutSecretsInJson(`${told}\n`))).toEqual(shown);
});

test('an error does not show what is known', () => {
  rememberSecret('known-to-this-process');
  const error = new SiphonError('unavailable', 'Cannot go on: known-to-this-process');
  expect(`${error.message} ${error.stack}`).not.toContain('known');
});

test('the oldest are forgotten, and what is used again is none of them', () => {
  for (let number = 0; number < 600; number += 1) {
    rememberSecret(`number-${number}-of-many`);
    rememberSecret('used-time-and-again');
  }
  expect(withoutSecrets('number-1-of-many number-599-of-many used-time-and-again')).toBe(
    'number-1-of-many … …',
  );
});
