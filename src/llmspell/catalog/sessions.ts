import type { RecordKind } from "../../catalog/types.js";

/** Sessions, the parents of artifacts. */
export const sessions = {
  path: "sessions",
  label: "Sessions",
  noun: "session",
  since: "V9",
  fields: [
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "session_id", type: "uuid", chosen: true },
    { name: "session_data", type: "json" },
    {
      name: "status",
      type: "text",
      maxLength: 20,
      oneOf: ["active", "archived", "expired"],
      legacyDefault: { json: '"active"' },
    },
    { name: "created_at", type: "timestamp" },
    { name: "last_accessed_at", type: "timestamp" },
    { name: "expires_at", type: "timestamp", nullable: true },
    { name: "artifact_count", type: "int4", min: 0, legacyDefault: { json: "0" } },
    { name: "updated_at", type: "timestamp" },
  ],
  key: ["tenant_id", "session_id"],
  uniqueKeys: [],
  foreignKeys: [],
  postgres: { schema: "llmspell", table: "sessions" },
  sqlite: { layout: "table", table: "sessions", surrogateKey: "id" },
} as const satisfies RecordKind;
