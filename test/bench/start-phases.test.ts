import { describe, expect, test } from 'vitest';
import type { TrafficPiece } from '../../bench/harness/result.js';
import { startPhases } from '../../bench/harness/start-phases.js';
import type { MeteredRequest } from '../../bench/meters/traffic-meter.js';

const layer = { digest: 'sha256:1a', size: 1000 };
const image = { layers: [layer], config: 'sha256:c0' };
const times = { mountedMs: 100, readyMs: 150 };

function request(url: string, startMs: number, endMs: number, status = 200): MeteredRequest {
  return { method: 'GET', url, status, bytes: 1, startMs, endMs };
}

function piece(digest: string, length: number, startMs: number, endMs: number): TrafficPiece {
  return { digest, offset: 0, length, startMs, endMs };
}

const manifest = request('/v2/app/manifests/latest', 5, 10);

describe('the phases of a start', () => {
  test('that draws its layers whole: no time for an index', () => {
    const pieces = [piece(layer.digest, 600, 20, 60), piece(layer.digest, 400, 60, 90)];
    expect(startPhases(times, { log: [manifest], pieces }, image)).toEqual({
      resolve: 10,
      index: 0,
      fetch: 90,
      run: 50,
    });
  });

  test('with a published index: what is not of the layers is index', () => {
    const pieces = [piece('sha256:ee', 80, 20, 40), piece(layer.digest, 100, 120, 130)];
    expect(startPhases(times, { log: [manifest], pieces }, image)).toEqual({
      resolve: 10,
      index: 30,
      fetch: 60,
      run: 50,
    });
  });

  test('with a table of contents at the end of a blob: so is a look at the blob', () => {
    const pieces = [piece(layer.digest, 50, 20, 70)];
    expect(startPhases(times, { log: [manifest], pieces }, image)).toMatchObject({
      resolve: 10,
      index: 60,
      fetch: 30,
    });
  });

  test('whose configuration is asked for: it is part of finding the image', () => {
    const log = [manifest, request('/v2/app/blobs/sha256:c0', 12, 25)];
    const pieces = [piece('sha256:c0', 10, 20, 25), piece(layer.digest, 1000, 30, 90)];
    expect(startPhases(times, { log, pieces }, image)).toMatchObject({ resolve: 25, index: 0 });
  });

  test('that asks for documents beside the image later: they do not move the first boundary', () => {
    const log = [manifest, request('/v2/app/manifests/sha256:77', 45, 50)];
    const pieces = [piece('sha256:ee', 80, 20, 40), piece('sha256:ef', 80, 60, 65)];
    expect(startPhases(times, { log, pieces }, image)).toMatchObject({ resolve: 10, index: 55 });
  });

  test('that asks first for what is not there', () => {
    const log = [request('/v2/app/manifests/sha256-1a', 1, 8, 404), manifest];
    expect(startPhases(times, { log, pieces: [] }, image)).toMatchObject({ resolve: 10 });
  });

  test('without any traffic: nothing but the container', () => {
    const none = { log: [], pieces: [] };
    expect(startPhases({ mountedMs: 0, readyMs: 50 }, none, image)).toEqual({
      resolve: 0,
      index: 0,
      fetch: 0,
      run: 50,
    });
  });

  test('add up, whatever comes late', () => {
    const log = [request('/v2/app/manifests/latest', 5, 400)];
    const pieces = [piece('sha256:ee', 80, 90, 300)];
    const phases = startPhases(times, { log, pieces }, image);
    expect(Object.values(phases).reduce((sum, ms) => sum + ms, 0)).toBe(150);
    expect(Math.min(...Object.values(phases))).toBeGreaterThanOrEqual(0);
  });
});
