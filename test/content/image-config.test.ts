import { describe, expect, test } from 'vitest';
import { digestOf, parseDiffId } from '#src/common/digest.js';
import { defaultImageConfig, parseImageConfig } from '#src/content/image-config.js';

function parse(document: unknown): ReturnType<typeof parseImageConfig> {
  return parseImageConfig(Buffer.from(JSON.stringify(document)), 'app');
}

describe('parseImageConfig', () => {
  test('takes what docker writes, nulls included', () => {
    const config = parse({
      architecture: 'amd64',
      os: 'linux',
      config: {
        Env: ['A=1'],
        Cmd: null,
        Entrypoint: null,
        Volumes: { '/data': {} },
        Labels: null,
        ExposedPorts: { '80/tcp': {} },
        OnBuild: null,
      },
      rootfs: { type: 'layers', diff_ids: [digestOf('a')] },
      history: null,
    });
    expect(config.config).toEqual({
      User: '',
      Env: ['A=1'],
      Entrypoint: [],
      Cmd: [],
      WorkingDir: '',
      StopSignal: '',
      Labels: {},
      Volumes: ['/data'],
      ExposedPorts: ['80/tcp'],
    });
    expect(config.rootfs.diff_ids).toEqual([digestOf('a')]);
  });

  test('fills in what is missing', () => {
    expect(parse({ rootfs: {} })).toMatchObject({ os: '', config: { Env: [] }, history: [] });
  });

  test.each([
    [{ rootfs: { diff_ids: ['md5:1'] } }, /"rootfs.diff_ids.0": expected a sha256 digest/],
    [{ config: { Env: 'A=1' }, rootfs: {} }, /"config.Env"/],
    [[], /Cannot read config of "app"/],
    [{}, /"rootfs"/],
  ])('refuses %j', (document, message) => {
    expect(() => parse(document)).toThrow(message);
  });

  test('refuses what is not JSON', () => {
    expect(() => parseImageConfig(Buffer.from('{'), 'app')).toThrow(
      'Cannot read config of "app": it is not JSON',
    );
  });
});

test('defaultImageConfig has the platform and nothing to run', () => {
  const diffId = parseDiffId(digestOf('x'));
  expect(defaultImageConfig({ os: 'linux', architecture: 'arm64' }, [diffId])).toMatchObject({
    os: 'linux',
    architecture: 'arm64',
    config: { Cmd: [], Env: [] },
    rootfs: { diff_ids: [diffId] },
  });
});
