import type { RecordKind } from "../../catalog/types.js";

/** Content-addressed bytes of artifacts, up to 100 MiB each. */
export const artifactContent = {
  path: "artifacts.content",
  label: "Artifact Content",
  noun: "artifact content",
  since: "V10",
  fields: [
    { name: "tenant_id", type: "text", maxLength: 255 },
    { name: "content_hash", type: "text", maxLength: 64 },
    { name: "storage_type", type: "text", sqlite: false, legacyDefault: { json: '"bytea"' } },
    { name: "data", type: "bytes", large: true },
    { name: "size_bytes", type: "int8", max: 104857600 },
    { name: "is_compressed", type: "bool", legacyDefault: { json: "false" } },
    { name: "original_size_bytes", type: "int8", nullable: true },
    { name: "reference_count", type: "int4", min: 1, legacyDefault: { json: "1" } },
    { name: "created_at", type: "timestamp" },
    { name: "last_accessed_at", type: "timestamp" },
  ],
  key: ["tenant_id", "content_hash"],
  uniqueKeys: [],
  foreignKeys: [],
  postgres: {
    schema: "llmspell",
    table: "artifact_content",
    largeObject: { field: "data", oidColumn: "large_object_oid", typeField: "storage_type" },
  },
  sqlite: { layout: "table", table: "artifact_content", surrogateKey: "id" },
} as const satisfies RecordKind;
