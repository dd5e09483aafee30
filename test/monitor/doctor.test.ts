import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { examine } from '#src/monitor/doctor/examine.js';
import { resendFinding } from '#src/monitor/doctor/kernel.js';
import { parseMonitorAddress } from '#src/monitor/monitor-server.js';
import { openSandbox } from '../support/sandbox.js';

describe('siphon doctor', () => {
  it.each([
    ['6.8.12-generic', 'warn'],
    ['6.9.0', 'ok'],
    ['6.10.1', 'ok'],
    ['5.15.0', 'warn'],
    ['7.0', 'ok'],
  ])('knows what Linux %s can do', (kernel, result) => {
    expect(resendFinding(kernel).result).toBe(result);
  });

  it.each([
    ['[proxy_plugins.siphon]\ntype = "snapshot"\naddress = "/run/s.sock"', 'ok'],
    ['[proxy_plugins.lazy]\ntype = "snapshot"\naddress = "/run/siphon/siphon.sock"', 'ok'],
    ['[proxy_plugins.siphon]\ntype = "content"', 'warn'],
    ['version = 2', 'warn'],
    ['version = ', 'warn'],
  ])("reads containerd's configuration: %s", async (text, result) => {
    await using sandbox = await openSandbox();
    const containerdConfig = join(sandbox.directory, 'config.toml');
    await writeFile(containerdConfig, text);
    const containerdSocket = join(sandbox.directory, 'none.sock');
    const findings = await examine({ root: sandbox.root, containerdConfig, containerdSocket });
    const resultOf = (name: string) => findings.find(({ check }) => check === name)?.result;
    expect(resultOf('containerd plugin')).toBe(result);
    expect(resultOf('containerd')).toBe('warn');
  });

  it('leaves nothing behind, and fails where the root folder will not do', async () => {
    await using sandbox = await openSandbox();
    await mkdir(sandbox.root);
    const good = await sandbox.siphon('doctor', '--json');
    expect(JSON.parse(good.stdout)).toContainEqual(
      expect.objectContaining({ check: 'sparse files', result: 'ok' }),
    );
    expect(await readdir(sandbox.root)).toEqual([]);
    const bad = await sandbox.siphon('--root', '/proc/siphon', 'doctor');
    expect(bad.code).toBe(1);
    expect(bad.stdout).toMatch(/^fail +root folder/m);
  });
});

describe('metrics addresses', () => {
  it.each([
    ['/run/x.sock', { path: '/run/x.sock' }],
    ['127.0.0.1:9090', { host: '127.0.0.1', port: 9090 }],
    ['[::1]:9090', { host: '::1', port: 9090 }],
  ])('%s', (text, address) => expect(parseMonitorAddress(text)).toEqual(address));

  it.each(['9090', 'host:', 'host:99999', 'relative.sock'])('refuses %s', (text) => {
    expect(() => parseMonitorAddress(text)).toThrow(/expected host:port or an absolute path/);
  });
});
