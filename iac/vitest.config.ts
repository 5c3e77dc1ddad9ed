import { defineConfig } from 'vitest/config';

// Loading the CDK takes longer than all tests: once for all files.
export default defineConfig({ test: { include: ['test/**/*.test.ts'], isolate: false, fileParallelism: false, testTimeout: 20_000 } });
