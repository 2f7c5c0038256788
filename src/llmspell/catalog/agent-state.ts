import type { RecordKind } from "../../catalog/types.js";

/** Saved states of agents. */
export const agentState = {
  path: "agent_state",
  label: "Agent States",
  noun: "agent state",
  since: "V6",
  fields: [
    { name: "state_id", type: "uuid" },
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "agent_id", type: "text", maxLength: 255 },
    { name: "agent_type", type: "text", maxLength: 100 },
    { name: "state_data", type: "json" },
    { name: "schema_version", type: "int4", min: 1 },
    { name: "data_version", type: "int4", min: 1 },
    { name: "checksum", type: "text", maxLength: 64 },
    { name: "created_at", type: "timestamp" },
    { name: "updated_at", type: "timestamp" },
  ],
  key: ["state_id"],
  uniqueKeys: [["tenant_id", "agent_id"]],
  foreignKeys: [],
  postgres: { schema: "llmspell", table: "agent_states" },
  sqlite: {
    layout: "table",
    table: "agent_states",
    textDigest: { field: "checksum", of: "state_data", companion: "checksum_exported", touched: "updated_at" },
  },
} as const satisfies RecordKind;
