import type { RecordKind } from "../../catalog/types.js";

/** Executions of hooks, for replay. */
export const hookHistory = {
  path: "hook_history",
  label: "Hooks",
  noun: "hook execution",
  since: "V13",
  fields: [
    { name: "execution_id", type: "uuid", chosen: true },
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "hook_id", type: "text", maxLength: 255 },
    { name: "hook_type", type: "text", maxLength: 255 },
    { name: "correlation_id", type: "uuid", chosen: true },
    { name: "hook_context", type: "bytes" },
    { name: "result_data", type: "json" },
    { name: "timestamp", type: "timestamp" },
    { name: "duration_ms", type: "int4" },
    { name: "triggering_component", type: "text", maxLength: 255, legacyDefault: { json: '""' } },
    { name: "component_id", type: "text", maxLength: 255, legacyDefault: { json: '""' } },
    { name: "modified_operation", type: "bool", legacyDefault: { json: "false" } },
    { name: "tags", type: "text_array", nullable: true, legacyDefault: { json: "[]" } },
    { name: "retention_priority", type: "int4", legacyDefault: { json: "0" } },
    { name: "context_size", type: "int4", legacyDefault: { lengthOf: "hook_context" } },
    { name: "contains_sensitive_data", type: "bool", legacyDefault: { json: "false" } },
    { name: "metadata", type: "json", legacyDefault: { json: "{}" } },
    { name: "created_at", type: "timestamp", legacyDefault: { field: "timestamp" } },
  ],
  key: ["execution_id"],
  uniqueKeys: [],
  foreignKeys: [],
  postgres: { schema: "llmspell", table: "hook_history" },
  sqlite: { layout: "table", table: "hook_history", surrogateKey: "id" },
} as const satisfies RecordKind;
