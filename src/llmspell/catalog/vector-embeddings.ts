import type { RecordKind } from "../../catalog/types.js";

/** The dimensions llmspell has tables for. */
export const VECTOR_DIMENSIONS = [384, 768, 1536, 3072] as const;

/** Vector embeddings: one kind per dimension, in the order of their dimensions. */
export const vectorEmbeddings = VECTOR_DIMENSIONS.map(
  (dimension) =>
    ({
      path: `vector_embeddings.${dimension}` as const,
      label: "Vectors",
      noun: "vector",
      since: "V3",
      fields: [
        { name: "id", type: "uuid", chosen: true },
        { name: "tenant_id", type: "text", maxLength: 255 },
        { name: "scope", type: "text", maxLength: 255 },
        // Not a column: the table says it. The document repeats it in each record.
        { name: "dimension", type: "int4", constant: dimension, legacyDefault: { json: String(dimension) } },
        { name: "embedding", type: "vector", dimension },
        { name: "metadata", type: "json", legacyDefault: { json: "{}" } },
        { name: "created_at", type: "timestamp" },
        { name: "updated_at", type: "timestamp" },
      ],
      key: ["id"],
      uniqueKeys: [],
      foreignKeys: [],
      postgres: { schema: "llmspell", table: `vector_embeddings_${dimension}` },
      sqlite: {
        layout: "vector",
        metadataTable: "vector_metadata",
        embeddingTable: `vec_embeddings_${dimension}`,
        dimension,
      },
    }) as const satisfies RecordKind,
);
