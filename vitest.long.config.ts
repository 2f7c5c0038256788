import { defineConfig } from "vitest/config";

/** Tests that take hours (CONTRIBUTING.md). */
export default defineConfig({
  test: {
    environment: "node",
    include: ["test/**/*.long.ts"],
    globalSetup: ["test/helpers/global-setup.ts"],
    pool: "forks",
    maxWorkers: 1,
    testTimeout: 0,
    hookTimeout: 0,
  },
});
