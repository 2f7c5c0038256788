/**
 * The vocabulary of the catalog: what a record kind is. Pure data, no driver.
 *
 * Canonical form of each field type, as bytes in a RecordBatch (records/record-batch.ts):
 *
 * | type        | canonical bytes                                                                        |
 * |-------------|----------------------------------------------------------------------------------------|
 * | text        | valid UTF-8 (may contain U+0000)                                                       |
 * | uuid        | 16 bytes; of an id that is kept as text, 17 zeros and the text's UTF-8 (codecs/uuid.ts)  |
 * | int4        | 4 bytes, big-endian, signed                                                            |
 * | int8        | 8 bytes, big-endian, signed                                                            |
 * | bool        | 1 byte, 0 or 1                                                                         |
 * | timestamp   | 8 bytes, big-endian, signed: microseconds since 2000-01-01 UTC; int64 max/min = ±infinity (PostgreSQL's own form) |
 * | json        | valid JSON text in UTF-8, as it came, without line breaks between tokens               |
 * | bytes       | the bytes                                                                              |
 * | vector      | dimension × 4 bytes: little-endian IEEE-754 float32, any bits                          |
 * | text_array  | compact JSON array of strings and nulls in UTF-8, as JSON.stringify writes it          |
 */
export type FieldType =
  | "text"
  | "uuid"
  | "int4"
  | "int8"
  | "bool"
  | "timestamp"
  | "json"
  | "bytes"
  | "vector"
  | "text_array";

export interface Field {
  /** The key in the document. */
  readonly name: string;
  readonly type: FieldType;
  /** The column where its name differs from `name` (both backends). */
  readonly column?: string;
  /** May be SQL NULL. In a nullable json field SQL NULL is the key's absence in the document. */
  readonly nullable?: true;
  /** VARCHAR(n): code points. PostgreSQL enforces it; SQLite does not. */
  readonly maxLength?: number;
  /** Inclusive bounds of a CHECK constraint. */
  readonly min?: number;
  readonly max?: number;
  /** The values a CHECK constraint permits. */
  readonly oneOf?: readonly string[];
  /** type vector: the dimension. */
  readonly dimension?: number;
  /** The same in every record of the kind, and no column in either backend (a vector's dimension). */
  readonly constant?: number;
  /** Not a column of SQLite (storage_type is derived from the content's length). */
  readonly sqlite?: false;
  /** The content may be streamed in chunks rather than held in a batch: see LargeValue. At most one per kind. */
  readonly large?: true;
  /** type uuid: applications choose it. In SQLite and documents it may be any text, and its spelling is data. */
  readonly chosen?: true;
  /** type uuid: names records of another kind by one of their fields, without a foreign key. */
  readonly refersTo?: { readonly kind: string; readonly field: string };
  /** type text: `{id}:{sequence}:{content_hash}`, where the id is that field of a record of the other kind. */
  readonly beginsWith?: { readonly kind: string; readonly field: string };
  /** What a legacy document means when the key is missing (spec: docs/document-format.md). */
  readonly legacyDefault?: LegacyDefault;
}

/** `json`: the value as a document token; `field`: a copy of another field; `length-of`: the decoded byte length of another field. */
export type LegacyDefault = { readonly json: string } | { readonly field: string } | { readonly lengthOf: string };

export interface ForeignKey {
  readonly fields: readonly string[];
  /** The referenced kind's path. */
  readonly references: string;
  readonly referencedFields: readonly string[];
  /**
   * The int4 field of the referenced kind that counts its children of this kind. The applications' triggers keep it; a
   * merge into a target with children of its own must raise it.
   */
  readonly counter?: string;
  /**
   * What goes with records that a transform drops. "cascade": the children of a dropped parent. "release": the parent,
   * once all children that referred to it are dropped. Not within a cycle of foreign keys, nor for a kind that refers to itself.
   */
  readonly onDrop?: "cascade" | "release";
}

/** How SQLite stores the kind. */
export type SqliteMapping =
  | {
      readonly layout: "table";
      readonly table: string;
      /** A table WITHOUT ROWID: read along its key, which has to be its primary key, and not written. */
      readonly withoutRowid?: true;
      /** A surrogate TEXT key with a random default that is not data. */
      readonly surrogateKey?: "id";
      /**
       * `field` must be the hex SHA-256 of the text of `of` (llmspell's SQLite refuses the row otherwise). The exported
       * value is kept in the column `companion` and counts while `field` still is that digest, and the time `touched`,
       * which llmspell sets with every change, still is the one that was written with it.
       */
      readonly textDigest?: {
        readonly field: string;
        readonly of: string;
        readonly companion: string;
        readonly touched: string;
      };
    }
  | {
      /** `vector_metadata` joined on rowid with `vec_embeddings_<dimension>` (ordinary table or sqlite-vec vec0). */
      readonly layout: "vector";
      readonly metadataTable: "vector_metadata";
      readonly embeddingTable: string;
      readonly dimension: number;
    };

export interface PostgresMapping {
  /** The schema that the table is in. Default: that of UNSAID. */
  readonly schema?: string;
  readonly table: string;
  /** Partitioned by month of this timestamp field. */
  readonly partitionedBy?: string;
  /** `storage_type`, `data`, `large_object_oid`: content from 1 MiB on lives in a large object. */
  readonly largeObject?: { readonly field: string; readonly oidColumn: string; readonly typeField: string };
}

/** A record kind: one array of the export document and its table in each backend. */
export interface RecordKind {
  /** The name of the kind in options and messages: the names of its location, joined by dots, e.g. `artifacts.content`. Unique. */
  readonly path: string;
  /**
   * Where the array stands in the document's `data`: its own name, or that of the object that it is in and its own. Names may
   * hold dots. Default: what stands before the first dot of `path`, and what stands behind it.
   */
  readonly location?: readonly [string] | readonly [string, string];
  /** The line of the statistics block that counts it. Several kinds may share one. */
  readonly label: string;
  /** Singular noun for messages, e.g. "artifact". */
  readonly noun: string;
  /** The schema version that brings the table, e.g. "V9". */
  readonly since: string;
  readonly fields: readonly Field[];
  /** The primary key: the document's sort order, and how a record is named in messages. Empty for a keyless kind. */
  readonly key: readonly string[];
  /** Its records have no key: they come in the order of the table, and are loaded into an empty table only. */
  readonly keyless?: true;
  /**
   * The text field that says whose a record is. Default: that of UNSAID, where there is one. null: nobody's in particular;
   * such records are everybody's, and come with each tenant's.
   */
  readonly tenantField?: string | null;
  /** Further unique keys (a record is found by these too: "natural keys"). */
  readonly uniqueKeys: readonly (readonly string[])[];
  readonly foreignKeys: readonly ForeignKey[];
  /** CHECK (start < end) pairs of timestamp fields. */
  readonly intervals?: readonly (readonly [string, string])[];
  readonly postgres: PostgresMapping;
  readonly sqlite: SqliteMapping;
}

/**
 * What a record kind means that says nothing of it: applications that add a kind to llmspell's catalog
 * (docs/adding-a-record-kind.md) need not repeat these.
 */
export const UNSAID = { schema: "llmspell", tenantField: "tenant_id" } as const;

/** Content from this length on is a large object in PostgreSQL and travels in chunks. Bytes. */
export const LARGE_VALUE_BYTES = 1048576;
