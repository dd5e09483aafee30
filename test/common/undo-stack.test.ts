import { describe, expect, it } from 'vitest';
import { UndoStack } from '#src/common/undo-stack.js';

describe('UndoStack', () => {
  it('undoes last first, each step once', async () => {
    const done: number[] = [];
    const undo = new UndoStack();
    for (const step of [1, 2, 3]) undo.defer(() => done.push(step));
    await undo[Symbol.asyncDispose]();
    await undo[Symbol.asyncDispose]();
    expect(done).toEqual([3, 2, 1]);
  });

  it('goes on past a failing step and throws its error at the end', async () => {
    let reached = false;
    const undo = new UndoStack();
    undo.defer(() => (reached = true));
    undo.defer(() => Promise.reject(new Error('stuck')));
    await expect(undo[Symbol.asyncDispose]()).rejects.toThrow('stuck');
    expect(reached).toBe(true);
  });
});
