import type { RecordKind } from "../../catalog/types.js";

/** Events, partitioned by month in PostgreSQL. */
export const eventLog = {
  path: "event_log",
  label: "Events",
  noun: "event",
  since: "V11",
  fields: [
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "event_id", type: "uuid", chosen: true },
    { name: "event_type", type: "text", maxLength: 255 },
    { name: "correlation_id", type: "uuid", chosen: true },
    { name: "timestamp", type: "timestamp" },
    { name: "sequence", type: "int8" },
    { name: "language", type: "text", maxLength: 50 },
    { name: "payload", type: "json" },
  ],
  key: ["tenant_id", "timestamp", "event_id"],
  uniqueKeys: [],
  foreignKeys: [],
  postgres: { schema: "llmspell", table: "event_log", partitionedBy: "timestamp" },
  sqlite: { layout: "table", table: "event_log", surrogateKey: "id" },
} as const satisfies RecordKind;
