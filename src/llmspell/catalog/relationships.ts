import type { RecordKind } from "../../catalog/types.js";

/** Versions of the relationships of the temporal knowledge graph. Their entities may be gone (no foreign key). */
export const relationships = {
  path: "knowledge_graph.relationships",
  label: "Relationships",
  noun: "relationship",
  since: "V4",
  fields: [
    { name: "relationship_id", type: "uuid", chosen: true },
    { name: "tenant_id", type: "text", maxLength: 255 },
    {
      name: "source_entity_id",
      type: "uuid",
      chosen: true,
      column: "from_entity",
      refersTo: { kind: "knowledge_graph.entities", field: "entity_id" },
    },
    {
      name: "target_entity_id",
      type: "uuid",
      chosen: true,
      column: "to_entity",
      refersTo: { kind: "knowledge_graph.entities", field: "entity_id" },
    },
    { name: "relationship_type", type: "text", maxLength: 255 },
    { name: "properties", type: "json", legacyDefault: { json: "{}" } },
    { name: "valid_time_start", type: "timestamp" },
    { name: "valid_time_end", type: "timestamp" },
    { name: "transaction_time_start", type: "timestamp" },
    { name: "transaction_time_end", type: "timestamp" },
    { name: "created_at", type: "timestamp" },
  ],
  key: ["relationship_id", "transaction_time_start"],
  uniqueKeys: [],
  foreignKeys: [],
  intervals: [
    ["valid_time_start", "valid_time_end"],
    ["transaction_time_start", "transaction_time_end"],
  ],
  postgres: { schema: "llmspell", table: "relationships" },
  sqlite: { layout: "table", table: "relationships" },
} as const satisfies RecordKind;
