import type { RecordKind } from "../../catalog/types.js";

/** Patterns learned from repeated behaviour. */
export const proceduralMemory = {
  path: "procedural_memory",
  label: "Patterns",
  noun: "pattern",
  since: "V5",
  fields: [
    { name: "pattern_id", type: "uuid" },
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "scope", type: "text", maxLength: 500 },
    { name: "key", type: "text", maxLength: 500 },
    { name: "value", type: "text" },
    { name: "frequency", type: "int4", min: 1, legacyDefault: { json: "1" } },
    { name: "first_seen", type: "timestamp" },
    { name: "last_seen", type: "timestamp" },
    { name: "created_at", type: "timestamp" },
    { name: "updated_at", type: "timestamp" },
  ],
  key: ["pattern_id"],
  uniqueKeys: [["tenant_id", "scope", "key", "value"]],
  foreignKeys: [],
  postgres: { schema: "llmspell", table: "procedural_patterns" },
  sqlite: { layout: "table", table: "procedural_patterns" },
} as const satisfies RecordKind;
