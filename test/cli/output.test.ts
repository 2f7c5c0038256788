import { describe, expect, it } from "vitest";
import type { TransferResult } from "../../src/api/results.js";
import { formatBytes } from "../../src/byte-size.js";
import { errorLines, reportError } from "../../src/commands/shown/error-report.js";
import { progressText } from "../../src/commands/shown/progress.js";
import { statisticsLines } from "../../src/commands/shown/statistics.js";
import { StorageError } from "../../src/errors.js";

function result(counts: Partial<TransferResult["totals"]>): TransferResult {
  const none = { read: 0, inserted: 0, updated: 0, unchanged: 0, skipped: 0, dropped: 0, rejected: 0, cascaded: 0 };
  const totals = { ...none, valueBytes: 0, ...counts };
  return {
    source: "a",
    target: "b",
    header: { backend: "sqlite", migrations: ["V1"] },
    kinds: [
      { path: "vector_embeddings.384", label: "Vectors", ...totals },
      { path: "vector_embeddings.768", label: "Vectors", ...totals },
      { path: "sessions", label: "Sessions", ...totals, inserted: 0, updated: 0 },
    ],
    totals,
    notes: ["a note"],
    leftOut: [],
    dryRun: false,
    started: "2026-01-02T03:04:05.000Z",
    ended: "2026-01-02T03:04:07.000Z",
    seconds: 2,
    versions: { tool: { "llmspell-storage": "0.1.0" }, source: { SQLite: "3.50.4" }, targetMigrations: ["V1", "V13"] },
  };
}

/** Of every run. */
const END = [
  "From: a (SQLite 3.50.4, schema V1)",
  "To: b (schema V1 to V13)",
  "Time: 2026-01-02T03:04:05.000Z to 2026-01-02T03:04:07.000Z, 2.0 s, 0 records/s, 0 bytes/s",
];

describe("the statistics", () => {
  it("count inserted and updated as imported, add up what shares a label, and leave out zeros", () => {
    expect(statisticsLines("Imported", result({ inserted: 1000, updated: 234 }))).toEqual([
      "✅ Imported 1,234 total records:",
      "  - Vectors: 2,468",
      "a note",
      ...END,
    ]);
  });

  it("name what was unchanged, skipped, dropped, cascaded and rejected", () => {
    const lines = statisticsLines(
      "Imported",
      result({ unchanged: 0, skipped: 1000, dropped: 2, rejected: 3, cascaded: 4 }),
    );
    expect(lines).toEqual([
      "✅ Imported 0 total records",
      "Skipped: 1,000",
      "Dropped: 2",
      "Cascaded: 4",
      "Rejected: 3",
      "a note",
      ...END,
    ]);
    expect(statisticsLines("Imported", result({ updated: 5, unchanged: 4 }))).toContain("Unchanged: 4");
    expect(statisticsLines("Imported", result({ read: 10, valueBytes: 2_000_000 })).at(-1)).toMatch(
      / 2\.0 s, 5 records\/s, 1\.0 MB\/s$/,
    );
  });
});

describe("an error", () => {
  it("is a line with its code, then place, causes and hint, each once and without passwords", () => {
    const cause = new Error("connect to postgresql://u:secret@h failed\nsecond line", {
      cause: new Error("ECONNREFUSED"),
    });
    const error = new StorageError(
      "E_CONNECT",
      "cannot connect to postgresql://u:se:c/r@et@h/d",
      {
        section: "sessions",
        key: "tenant_id=a",
        field: "status",
        detail: "ECONNREFUSED",
        hint: "see postgres://u:secret@h",
      },
      cause,
    );
    expect(errorLines(reportError(error))).toEqual([
      "Error: cannot connect to postgresql://u@h/d [E_CONNECT]",
      "  at section sessions, record tenant_id=a, field status",
      "Caused by: ECONNREFUSED",
      "Caused by: connect to postgresql://u@h failed",
      "Hint: see postgres://u@h",
    ]);
  });
});

describe("progress", () => {
  it("says what is left where it can", () => {
    const progress = { phase: "rows", path: "event_log", records: 1200, pathRecords: 200, bytes: 3_100_000 } as const;
    expect(progressText(progress, 3, 5000)).toBe(
      "event_log: 1,200 of about 5,000 records, 3.1 MB, 400 records/s, about 10 s left",
    );
    expect(progressText(progress, 3, undefined)).toBe("event_log: 1,200 records, 3.1 MB, 400 records/s");
    expect(progressText(progress, 3, 100)).toBe("event_log: 1,200 records, 3.1 MB, 400 records/s");
  });

  it.each([
    [0, "0 bytes"],
    [999, "999 bytes"],
    [1000, "1.0 kB"],
    [104_857_600, "104.9 MB"],
    [3_000_000_000, "3.0 GB"],
  ])("%i bytes are %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});
