import type { RecordKind } from "../../catalog/types.js";

/** Key-value entries. */
export const kvStore = {
  path: "kv_store",
  label: "KV Entries",
  noun: "key-value entry",
  since: "V7",
  fields: [
    { name: "kv_id", type: "uuid" },
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "key", type: "text", maxLength: 500 },
    { name: "value", type: "bytes" },
    { name: "metadata", type: "json", nullable: true },
    { name: "created_at", type: "timestamp" },
    { name: "updated_at", type: "timestamp" },
  ],
  key: ["kv_id"],
  uniqueKeys: [["tenant_id", "key"]],
  foreignKeys: [],
  postgres: { schema: "llmspell", table: "kv_store" },
  sqlite: { layout: "table", table: "kv_store" },
} as const satisfies RecordKind;
