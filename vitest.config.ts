import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/watch-runtimes.ts'],
    // Many tests start real programs: two files at once are what a small machine bears.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    retry: 0,
    // Vitest would give up after 1 s, which a busy machine may need for one command.
    expect: { poll: { timeout: 20_000 } },
    // `#src/…` is the compiled product, worker threads included: Node loads it, not vite.
    server: { deps: { external: [/\/dist\//] } },
    execArgv: ['--enable-source-maps'],
  },
});
