/** A failure that its message explains; a script prints it without a stack and ends with code 1. */
export class Failure extends Error {}

/**
 * Runs the body of a script; its result is the exit code.
 * @param {() => Promise<number | void>} body
 */
export async function script(body) {
  try {
    process.exitCode = (await body()) ?? 0;
  } catch (error) {
    console.error(explain(error));
    process.exitCode = 1;
  }
}

/**
 * The message of an expected failure, the stack of any other.
 * @param {unknown} error
 */
export function explain(error) {
  if (error instanceof Failure) return error.message;
  return error instanceof Error ? String(error.stack) : String(error);
}
