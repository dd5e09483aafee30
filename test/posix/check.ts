/** One row of the suite: something that a program sees, the same on every file system. */

/** Who is compared with plain files; `overlay` is the kernel driver below overlayfs. */
export type Contestant = 'kernel' | 'overlay' | 'libfuse';

export interface Check {
  name: string;
  /** What is seen at the root of the sample tree; compared by value. */
  observe(root: string): unknown;
  /** What must be seen; without, what the plain folder shows. */
  expected?: unknown;
  /**
   * Who shows something else, and why (native-notes.md says the same). It is checked that they do, so
   * that an exception does not outlive its reason.
   */
  exceptions?: Partial<Record<Contestant, string>>;
}

/** What a call returned, or the name of the error it failed with. */
export function outcome<T>(call: () => T): T | string {
  try {
    return call();
  } catch (error) {
    const { code } = error as { code?: unknown }; // Node's errors and ours have one
    if (typeof code === 'string') return code;
    throw error;
  }
}
