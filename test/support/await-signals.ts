/**
 * What a shell script waits with for signals that it has traps for. A loop of sleep(1) will not do: dash drops a signal
 * that comes while it starts a program, between its vfork(2) and that one's execve(2).
 */
export const awaitSignals = 'sleep 1000 >/dev/null 2>&1 & while :; do wait; done';
