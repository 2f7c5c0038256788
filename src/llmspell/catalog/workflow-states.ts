import type { RecordKind } from "../../catalog/types.js";

/** States of workflow runs. */
export const workflowStates = {
  path: "workflow_states",
  label: "Workflow States",
  noun: "workflow state",
  since: "V8",
  fields: [
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "workflow_id", type: "text", maxLength: 255 },
    { name: "workflow_name", type: "text", nullable: true, maxLength: 500 },
    { name: "state_data", type: "json" },
    { name: "current_step", type: "int4", min: 0, legacyDefault: { json: "0" } },
    {
      name: "status",
      type: "text",
      maxLength: 20,
      oneOf: ["pending", "running", "completed", "failed", "cancelled"],
      legacyDefault: { json: '"pending"' },
    },
    { name: "started_at", type: "timestamp", nullable: true },
    { name: "completed_at", type: "timestamp", nullable: true },
    { name: "last_updated", type: "timestamp" },
    { name: "created_at", type: "timestamp" },
  ],
  key: ["tenant_id", "workflow_id"],
  uniqueKeys: [],
  foreignKeys: [],
  postgres: { schema: "llmspell", table: "workflow_states" },
  sqlite: { layout: "table", table: "workflow_states" },
} as const satisfies RecordKind;
