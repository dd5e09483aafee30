/** Holds work back until the test lets it go on, however long the machine takes to get there. */

export interface Gate {
  /** Resolves when it is open. */
  readonly opened: Promise<void>;
  open(): void;
}

export function closedGate(): Gate {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open: () => open() };
}
