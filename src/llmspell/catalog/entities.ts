import type { RecordKind } from "../../catalog/types.js";

/** Versions of the entities of the temporal knowledge graph. */
export const entities = {
  path: "knowledge_graph.entities",
  label: "Entities",
  noun: "entity",
  since: "V4",
  fields: [
    { name: "entity_id", type: "uuid", chosen: true },
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "entity_type", type: "text", maxLength: 255 },
    { name: "name", type: "text", maxLength: 500 },
    { name: "properties", type: "json", legacyDefault: { json: "{}" } },
    { name: "valid_time_start", type: "timestamp" },
    { name: "valid_time_end", type: "timestamp" },
    { name: "transaction_time_start", type: "timestamp" },
    { name: "transaction_time_end", type: "timestamp" },
    { name: "created_at", type: "timestamp" },
  ],
  key: ["entity_id", "transaction_time_start"],
  uniqueKeys: [],
  foreignKeys: [],
  intervals: [
    ["valid_time_start", "valid_time_end"],
    ["transaction_time_start", "transaction_time_end"],
  ],
  postgres: { schema: "llmspell", table: "entities" },
  sqlite: { layout: "table", table: "entities" },
} as const satisfies RecordKind;
