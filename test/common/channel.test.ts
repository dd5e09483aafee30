import { describe, expect, it } from 'vitest';
import { Channel } from '#src/common/channel.js';

describe('Channel', () => {
  it('hands values over in order, however the two sides are paced', async () => {
    const channel = new Channel<number>();
    const sending = (async () => {
      for (const value of [1, 2, 3]) await channel.send(value);
      channel.end();
    })();
    const received: number[] = [];
    for await (const value of channel) received.push(value);
    await sending;
    expect(received).toEqual([1, 2, 3]);
  });

  it('keeps the sender waiting until the value is taken', async () => {
    const channel = new Channel<string>();
    let sent = false;
    const sending = channel.send('a').then(() => (sent = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(sent).toBe(false);
    const iterator = channel[Symbol.asyncIterator]();
    expect(await iterator.next()).toEqual({ done: false, value: 'a' });
    await sending;
  });

  it('throws the error it was ended with', async () => {
    const channel = new Channel<number>();
    channel.end(new Error('broken'));
    await expect(channel[Symbol.asyncIterator]().next()).rejects.toThrow('broken');
  });

  it('lets the sender go on when the receiver has left', async () => {
    const channel = new Channel<number>();
    const sending = channel.send(1);
    await channel[Symbol.asyncIterator]().return?.();
    await sending;
    await channel.send(2);
  });
});
