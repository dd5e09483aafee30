import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Image } from '#src/content/image.js';
import { SharedImages } from '#src/layers/shared-images.js';

/** What became of images, in order. */
function images(idleTime = 20) {
  const events: string[] = [];
  const open = (name: string) => () => {
    events.push(`open ${name}`);
    const close = (): Promise<void> => Promise.resolve(void events.push(`close ${name}`));
    return Promise.resolve({ name, close } as Image); // all that is used of it
  };
  const shared = new SharedImages({
    idleTime,
    onEnd: () => Promise.resolve(void events.push('end')),
  });
  return { events, open, shared };
}

describe('SharedImages', () => {
  it('opens an image once for uses that follow each other, and closes it some time after', async () => {
    const { events, open, shared } = images();
    for (let use = 0; use < 3; use++) {
      expect(await shared.use('a', open('a'), ({ image }) => Promise.resolve(image.name))).toBe(
        'a',
      );
    }
    expect(events).toEqual(['open a']);
    await expect.poll(() => events).toEqual(['open a', 'end', 'close a']);
    await shared.use('a', open('a'), () => Promise.resolve());
    expect(events).toHaveLength(4);
    await shared[Symbol.asyncDispose]();
  });

  it('keeps it open as long as it is used, however long that is', async () => {
    const { events, open, shared } = images(5);
    await shared.use('a', open('a'), async () => {
      await shared.use('a', open('a'), () => Promise.resolve());
      await delay(60);
    });
    expect(events).toEqual(['open a']);
    await shared[Symbol.asyncDispose]();
  });

  it('tells what goes on beside the uses that it has to end, and waits for it', async () => {
    const { events, open, shared } = images();
    await shared.use('a', open('a'), ({ ended, background }) => {
      const stopped = new Promise<void>((resolve) => {
        ended.addEventListener('abort', () => setTimeout(resolve, 30));
      });
      background(stopped.then(() => void events.push('stopped')));
      return Promise.resolve();
    });
    await expect.poll(() => events).toEqual(['open a', 'stopped', 'end', 'close a']);
  });

  it('opens anew what could not be opened, and what is forgotten', async () => {
    const { events, open, shared } = images();
    const failing = shared.use(
      'a',
      () => Promise.reject(new Error('gone')),
      () => Promise.resolve(),
    );
    await expect(failing).rejects.toThrow('gone');
    await shared.use('a', open('a'), () => Promise.resolve());
    shared.forget('a');
    await shared.use('a', open('b'), () => Promise.resolve());
    await expect.poll(() => events).toContain('close a');
    expect(events.slice(0, 2)).toEqual(['open a', 'open b']);
    await shared[Symbol.asyncDispose]();
    expect(events).toContain('close b');
  });
});
