import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** The files that take longest, longest first: begun last, one of them would run alone at the end. */
const LONG = [
  "cli/jobs",
  "conformance/property",
  "conformance/property-second",
  "conformance/parts",
  "conformance/key-ranges",
  "faults/runs",
  "faults/kill",
  "cli/transforms",
  "cli/export-import",
  "cli/prune",
  "backends/postgres-search-path",
  "conformance/postgres",
  "reports/reports",
].map((name) => `/test/${name}.test.ts`);

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONG.findIndex((name) => moduleId.endsWith(name));
      return at < 0 ? LONG.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    environment: "node",
    include: ["test/**/*.test.ts"],
    // For npm run test:long: a second helping of arbitrary databases, a soak, values of hundreds of megabytes, and what would be
    // too much for ten minutes on two slow cores.
    exclude: [
      "backends/postgres-huge-values",
      "cli/database",
      "cli/jobs-loads",
      "cli/jq-guide",
      "conformance/pglite",
      "conformance/property-second",
      "faults/queue",
      "faults/queue-stalled",
      "faults/queue-merging",
      "faults/queue-steps",
      "faults/runs-merging",
      "plan/postgres-targets",
      "sinks/postgres-deferred-indexes",
      "sinks/postgres-runs-among-others",
      "sinks/postgres-runs-merging",
      "workflows/guide-under-set-e",
      "workflows/workflow-5",
    ].map((name) => `test/${name}.test.ts`),
    globalSetup: ["test/helpers/global-setup.ts"],
    // A process per test file: native addons and process-wide settings of one file never reach another.
    pool: "forks",
    // One more than there are cores on small machines: tests wait for servers and processes of their own.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    // For what hangs: no test may fail because its machine is slow.
    testTimeout: 180_000,
    hookTimeout: 300_000,
  },
});
