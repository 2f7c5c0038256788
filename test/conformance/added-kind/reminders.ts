import type { RecordKind } from "../../../src/catalog/index.js";

/** Reminders of sessions. */
export const reminders = {
  path: "reminders",
  label: "Reminders",
  noun: "reminder",
  since: "S2",
  fields: [
    { name: "reminder_id", type: "uuid" },
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "session_id", type: "uuid", chosen: true },
    { name: "title", type: "text", maxLength: 200 },
    { name: "priority", type: "int4", min: 0, column: "urgency" },
    { name: "sequence", type: "int8" },
    { name: "status", type: "text", maxLength: 20, oneOf: ["open", "done"] },
    { name: "repeats", type: "bool" },
    { name: "due_at", type: "timestamp" },
    { name: "snoozed_until", type: "timestamp", nullable: true },
    { name: "attachment", type: "bytes" },
    { name: "details", type: "json" },
    { name: "notes", type: "json", nullable: true },
    { name: "tags", type: "text_array", nullable: true },
  ],
  key: ["reminder_id"],
  uniqueKeys: [["tenant_id", "title"]],
  foreignKeys: [
    { fields: ["tenant_id", "session_id"], references: "sessions", referencedFields: ["tenant_id", "session_id"] },
  ],
  postgres: { table: "reminders" },
  sqlite: { layout: "table", table: "reminders" },
} as const satisfies RecordKind;
