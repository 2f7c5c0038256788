import { defineConfig } from "vitest/config";
import ordinary from "./vitest.config.js";

/** The tests whose numbers grow (test/helpers/scale.ts), with the large ones: `npm run test:long`. */
export default defineConfig({
  test: {
    ...ordinary.test,
    exclude: [],
    include: [
      "workflows/workflow-5",
      "backends/postgres-huge-values",
      "backends/postgres-search-path",
      "cli/database",
      "cli/jobs",
      "cli/jobs-loads",
      "codecs/json-scan",
      "document/directories",
      "document/validation-agreement",
      "conformance/property",
      "conformance/property-second",
      "conformance/key-ranges",
      "conformance/parts",
      "conformance/pglite",
      "faults/directories",
      "faults/disk",
      "faults/kill",
      "faults/queue",
      "faults/queue-stalled",
      "faults/queue-merging",
      "faults/queue-steps",
      "faults/runs",
      "faults/runs-merging",
      "faults/cut-document",
      "fidelity/lacking-fields",
      "fidelity/one-in-a-million",
      "transforms/jq/generated",
      "verify/json-meaning",
      "sinks/postgres-runs-among-others",
      "sinks/postgres-runs-merging",
      "long/full-disk",
      "long/fuzzing",
      "long/queue",
      "long/queue-merging",
      "long/verify-threads",
    ].map((name) => `test/${name}.{test,long}.ts`),
    // All of the fuzzing takes hours: a share of it, the same each time; FUZZ_SEED looks elsewhere.
    env: {
      TEST_LONG: "1",
      FUZZ_SHARE: process.env["FUZZ_SHARE"] ?? "0.02",
      FUZZ_SEED: process.env["FUZZ_SEED"] ?? "20261128",
    },
    testTimeout: 40 * 60_000,
  },
});
