import type { RecordKind } from "../../catalog/types.js";

/** Artifacts of sessions; the bytes are in artifacts.content. */
export const artifacts = {
  path: "artifacts.artifacts",
  label: "Artifacts",
  noun: "artifact",
  since: "V10",
  fields: [
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "artifact_id", type: "text", maxLength: 512, beginsWith: { kind: "sessions", field: "session_id" } },
    { name: "session_id", type: "uuid", chosen: true },
    { name: "sequence", type: "int8", min: 0 },
    { name: "content_hash", type: "text", maxLength: 64 },
    { name: "metadata", type: "json" },
    { name: "name", type: "text", maxLength: 255 },
    { name: "artifact_type", type: "text", maxLength: 50 },
    { name: "mime_type", type: "text", maxLength: 255 },
    { name: "size_bytes", type: "int8" },
    { name: "created_at", type: "timestamp" },
    { name: "created_by", type: "text", nullable: true, maxLength: 255 },
    { name: "version", type: "int4", min: 1, legacyDefault: { json: "1" } },
    {
      name: "parent_artifact_id",
      type: "text",
      nullable: true,
      maxLength: 512,
      beginsWith: { kind: "sessions", field: "session_id" },
    },
    { name: "tags", type: "text_array", nullable: true },
    { name: "stored_at", type: "timestamp" },
    { name: "updated_at", type: "timestamp" },
  ],
  key: ["tenant_id", "artifact_id"],
  uniqueKeys: [["tenant_id", "session_id", "sequence"]],
  foreignKeys: [
    {
      fields: ["tenant_id", "content_hash"],
      references: "artifacts.content",
      referencedFields: ["tenant_id", "content_hash"],
      counter: "reference_count",
      onDrop: "release",
    },
    {
      fields: ["tenant_id", "session_id"],
      references: "sessions",
      referencedFields: ["tenant_id", "session_id"],
      counter: "artifact_count",
      onDrop: "cascade",
    },
  ],
  postgres: { schema: "llmspell", table: "artifacts" },
  sqlite: { layout: "table", table: "artifacts", surrogateKey: "id" },
} as const satisfies RecordKind;
