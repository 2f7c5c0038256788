/** Documents that llmspell's own exporters write: they lack some fields, and have another unit of times. */
import type { DocumentApplication, DocumentDialect } from "../../document/dialect.js";
import type { DocumentHeader } from "../../document/header.js";
import { StorageError } from "../../errors.js";

/** Sections in which llmspell's exporters write the surrogate key of SQLite's table. */
const SURROGATE_PATHS: ReadonlySet<string> = new Set(["sessions", "event_log", "hook_history"]);

/**
 * llmspell's own exporters name no producer. From SQLite they always write V3 and later, and seconds; what others leave of our
 * documents keeps the "V1" that ours begin with. From PostgreSQL they write microseconds, and are known by the `id` of
 * sessions, events or hooks, which ours never have (`hasSurrogates`). `times`: what the user says of a document without a
 * producer. E_DOCUMENT_SHAPE for one that tells nothing of its times, E_USAGE where it tells otherwise.
 */
function dialectOf(
  { producer, sourceBackend, migrations }: Pick<DocumentHeader, "producer" | "sourceBackend" | "migrations">,
  hasSurrogates: boolean,
  times?: "us" | "s",
): DocumentDialect {
  if (producer !== undefined) {
    if (times === "s") throw new StorageError("E_USAGE", "the document's producer writes microseconds, not seconds");
    return { legacy: false, times: "us" };
  }
  if (sourceBackend === "postgresql") {
    if (times === "s") return { legacy: true, times };
    return { legacy: hasSurrogates, times: "us" };
  }
  if (migrations.includes("V1")) return times === "s" ? { legacy: true, times } : { legacy: false, times: "us" };
  if (migrations.length > 0) return { legacy: true, times: times ?? "s" };
  if (times !== undefined) return { legacy: times === "s", times };
  throw new StorageError(
    "E_DOCUMENT_SHAPE",
    "the document does not say whether its times are seconds or microseconds",
    {
      detail: "it names neither a producer nor migrations",
      hint: "llmspell's own documents from SQLite have seconds: --times s. Those of this tool have microseconds: --times us.",
    },
  );
}

export const llmspellDocuments: DocumentApplication = {
  // llmspell's PostgreSQL exporter: its header says nothing of it.
  tellingSections: ({ producer, sourceBackend }) =>
    producer === undefined && sourceBackend !== "sqlite" ? SURROGATE_PATHS : undefined,
  dialectOf,
};
