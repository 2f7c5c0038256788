/** Sample rows of every record kind, by the columns that both backends share. */
import { createHash } from "node:crypto";
import {
  FIRST_TIME,
  type JsonForm,
  LAST_TIME,
  SampleRandom,
  type SampleTime,
  sampleJson,
  sampleTags,
  sampleText,
  sampleVector,
} from "./sample-values.js";

export const SAMPLE_DIMENSIONS = [384, 768, 1536, 3072] as const;

/** In an order that foreign keys permit. */
export const SAMPLE_TABLES = [
  ...SAMPLE_DIMENSIONS.map((dimension) => `vector_embeddings_${dimension}` as const),
  "entities",
  "relationships",
  "procedural_patterns",
  "agent_states",
  "kv_store",
  "workflow_states",
  "sessions",
  "artifact_content",
  "artifacts",
  "event_log",
  "hook_history",
] as const;

export type SampleTable = (typeof SAMPLE_TABLES)[number];

/** A value of a column; int columns hold bigint. */
export type SampleValue =
  | string
  | bigint
  | boolean
  | Buffer
  | null
  | { readonly time: SampleTime }
  | { readonly json: string }
  | { readonly uuid: string }
  | { readonly vector: Float32Array }
  | readonly (string | null)[];

export type SampleRow = Readonly<Record<string, SampleValue>>;
export interface SampleOptions {
  /** Default "sample". */
  readonly seed?: string;
  /** Rows of every table (and so of every dimension). Default 100, at least 3. */
  readonly records?: number;
  /** Rows of single tables. */
  readonly counts?: Partial<Record<SampleTable, number>>;
  /** Lengths of the first artifact contents, in bytes; the others are below 600. Default DEFAULT_CONTENT_SIZES. */
  readonly contentSizes?: readonly number[];
  /** Extra bytes of text in each payload (events, kv values, contents): for databases of gigabytes. Default 0. */
  readonly padding?: number;
  /** Default "free" for SQLite, "jsonb" for PostgreSQL. */
  readonly json?: JsonForm;
  /**
   * Times below the second, several versions of an entity, repeated event sequences: what llmspell's SQLite has no place
   * for. Default true for PostgreSQL, false for SQLite.
   */
  readonly beyondSqlite?: boolean;
  /** U+0000 in text and in json, which only SQLite holds. Default false. */
  readonly nul?: boolean;
}

const MIB = 1048576;
/** Both sides of the line from which PostgreSQL keeps content in a large object. */
export const DEFAULT_CONTENT_SIZES: readonly number[] = [0, 1, 256, MIB - 1, MIB, MIB + 1, 3 * MIB + 17];

const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const TENANTS = ["tenant-a", "租户 😀", "O'Brien & Söhne"] as const;
const SECOND = 1000000n;
const DAY = 86400n * SECOND;
/** 2025-03-30T22:00:00Z: the rows' days reach over months, and over a change to summer time. */
const START = 1743372000n * SECOND;

/** Makes the rows of one database; every table has a random stream of its own. */
export class SampleRecords {
  readonly counts: Readonly<Record<SampleTable, number>>;
  private readonly seed: string;
  private readonly contentSizes: readonly number[];
  private readonly padding: number;
  private readonly form: JsonForm;
  private readonly beyondSqlite: boolean;
  private readonly nul: boolean;

  constructor(options: SampleOptions, defaults: { json: JsonForm; beyondSqlite: boolean }) {
    const { records = 100, counts = {} } = options;
    this.seed = options.seed ?? "sample";
    this.contentSizes = options.contentSizes ?? DEFAULT_CONTENT_SIZES;
    this.padding = options.padding ?? 0;
    this.form = options.json ?? defaults.json;
    this.beyondSqlite = options.beyondSqlite ?? defaults.beyondSqlite;
    this.nul = options.nul ?? false;
    this.counts = Object.fromEntries(SAMPLE_TABLES.map((table) => [table, counts[table] ?? records])) as Record<
      SampleTable,
      number
    >;
  }

  /** The rows of a table, one at a time. */
  *rows(table: SampleTable): Generator<SampleRow> {
    const random = new SampleRandom(`${this.seed}:${table}`);
    for (let i = 0; i < this.counts[table]; i++) yield this.row(table, i, random);
  }

  private row(table: SampleTable, i: number, random: SampleRandom): SampleRow {
    switch (table) {
      case "entities":
        return this.entity(i, random);
      case "relationships":
        return this.relationship(i, random);
      case "procedural_patterns":
        return this.pattern(i, random);
      case "agent_states":
        return this.agentState(i, random);
      case "kv_store":
        return this.kvEntry(i, random);
      case "workflow_states":
        return this.workflowState(i, random);
      case "sessions":
        return this.session(i, random);
      case "artifact_content":
        return this.content(i, random);
      case "artifacts":
        return this.artifact(i, random);
      case "event_log":
        return this.event(i, random);
      case "hook_history":
        return this.hook(i, random);
      default:
        return this.vector(table, i, random);
    }
  }

  private tenant(i: number): string {
    return TENANTS[i % TENANTS.length] as string;
  }

  private uuid(table: string, i: number): { uuid: string } {
    const hex = createHash("md5").update(`${this.seed}:${table}:${i}`).digest("hex");
    return { uuid: hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5") };
  }

  /** A natural key: another seed's rows never meet it. */
  private name(prefix: string, i: number): string {
    return `${prefix}-${i}-${this.uuid(prefix, i).uuid.slice(0, 8)}`;
  }

  private contentHash(i: number): string {
    return createHash("sha256").update(`${this.seed}:content:${i}`).digest("hex");
  }

  private json(random: SampleRandom, padding = 0): { json: string } {
    const json = sampleJson(random, this.form, padding);
    return { json: this.nul && random.chance(0.05) ? json.replace(/\}$/, ', "nul": "\\u0000"}') : json };
  }

  private text(random: SampleRandom, limit?: number): string {
    const text = sampleText(random, limit);
    return this.nul && random.chance(0.05) ? `a\0${text}`.slice(0, text.length) : text;
  }

  /** `days` after the start, and a little more; below the second where that is wanted. */
  private time(random: SampleRandom, days: number): { time: bigint } {
    const fraction = this.beyondSqlite ? BigInt(random.int(0, 999999)) : 0n;
    return { time: START + BigInt(days) * DAY + BigInt(random.int(0, 86399)) * SECOND + fraction };
  }

  /** A time that nothing compares with another: one in twenty is far away. */
  private freeTime(random: SampleRandom, days: number): { time: SampleTime } {
    if (!random.chance(0.05)) return this.time(random, days);
    const far: SampleTime[] = ["infinity", "-infinity", FIRST_TIME, LAST_TIME, -1n, 0n, 253402300800000000n];
    return { time: random.pick(far) };
  }

  private intervals(i: number, random: SampleRandom): SampleRow {
    const start = this.time(random, i % 180).time;
    const open = random.chance(0.5);
    const until: SampleTime = open
      ? "infinity"
      : start + (this.beyondSqlite ? 1n : SECOND) * BigInt(random.int(1, 1000));
    const far = random.chance(0.05);
    return {
      valid_time_start: { time: far ? random.pick<SampleTime>(["-infinity", FIRST_TIME]) : start },
      valid_time_end: { time: far ? LAST_TIME : until },
      transaction_time_start: { time: start + DAY },
      transaction_time_end: { time: random.chance(0.7) ? "infinity" : start + 2n * DAY },
      created_at: this.freeTime(random, i % 180),
    };
  }

  private vector(table: SampleTable, i: number, random: SampleRandom): SampleRow {
    const dimension = Number(table.slice("vector_embeddings_".length));
    return {
      id: this.uuid(table, i),
      tenant_id: this.tenant(i),
      scope: `user:${this.text(random, 100)}`,
      embedding: { vector: sampleVector(random, dimension) },
      metadata: this.json(random),
      created_at: this.freeTime(random, i % 180),
      updated_at: this.freeTime(random, i % 180),
    };
  }

  private entity(i: number, random: SampleRandom): SampleRow {
    const versionOf = this.originalEntity(i);
    return {
      entity_id: this.uuid("entities", versionOf),
      tenant_id: this.tenant(versionOf),
      entity_type: random.pick(["person", "place", "事物"]),
      name: i === 0 ? "😀".repeat(500) : this.text(random, 500),
      properties: this.json(random),
      ...this.intervals(i, random),
    };
  }

  /** Every fourth entity is another version of the one before, where versions can be held. */
  private originalEntity(i: number): number {
    return this.beyondSqlite && i % 4 === 3 ? i - 1 : i;
  }

  private relationship(i: number, random: SampleRandom): SampleRow {
    const entities = this.counts.entities;
    return {
      relationship_id: this.uuid("relationships", this.beyondSqlite && i % 5 === 4 ? i - 1 : i),
      tenant_id: this.tenant(i),
      from_entity: this.uuid("entities", this.originalEntity(i % entities)),
      to_entity: this.uuid("entities", this.originalEntity((i * 7 + 3) % entities)),
      relationship_type: this.text(random, 60),
      properties: this.json(random),
      ...this.intervals(i, random),
    };
  }

  private pattern(i: number, random: SampleRandom): SampleRow {
    return {
      pattern_id: this.uuid("procedural_patterns", i),
      tenant_id: this.tenant(i),
      scope: random.pick(["global", "session:1", "用户"]),
      key: this.name("key", i),
      value: this.text(random),
      frequency: i === 0 ? 2147483647n : BigInt(random.int(1, 20)),
      first_seen: this.freeTime(random, i % 180),
      last_seen: this.freeTime(random, i % 180),
      created_at: this.freeTime(random, i % 180),
      updated_at: this.freeTime(random, i % 180),
    };
  }

  private agentState(i: number, random: SampleRandom): SampleRow {
    const state = this.json(random);
    return {
      state_id: this.uuid("agent_states", i),
      tenant_id: this.tenant(i),
      agent_id: this.name("agent", i),
      agent_type: random.pick(["planner", "coder", "агент"]),
      state_data: state,
      schema_version: 1n,
      data_version: BigInt(random.int(1, 9)),
      checksum: createHash("sha256").update(state.json).digest("hex"),
      created_at: this.freeTime(random, i % 180),
      updated_at: this.freeTime(random, i % 180),
    };
  }

  private kvEntry(i: number, random: SampleRandom): SampleRow {
    return {
      kv_id: this.uuid("kv_store", i),
      tenant_id: this.tenant(i),
      key: `${this.name("kv", i)}/${this.text(random, 80)}`,
      value: i === 0 ? Buffer.alloc(0) : i === 1 ? EVERY_BYTE : random.bytes(random.int(0, 80) + this.padding),
      metadata: [null, { json: "null" }, this.json(random)][i % 3] ?? null,
      created_at: this.freeTime(random, i % 180),
      updated_at: this.freeTime(random, i % 180),
    };
  }

  private workflowState(i: number, random: SampleRandom): SampleRow {
    return {
      tenant_id: this.tenant(i),
      workflow_id: `${this.name("workflow", i)} ${random.pick(["a", "é", "😀"])}`,
      workflow_name: random.chance(0.3) ? null : this.text(random, 500),
      state_data: i === 0 ? { json: "null" } : this.json(random),
      current_step: BigInt(random.int(0, 12)),
      status: random.pick(["pending", "running", "completed", "failed", "cancelled"]),
      started_at: random.chance(0.3) ? null : this.freeTime(random, i % 180),
      completed_at: random.chance(0.5) ? null : this.freeTime(random, i % 180),
      last_updated: this.freeTime(random, i % 180),
      created_at: this.freeTime(random, i % 180),
    };
  }

  private session(i: number, random: SampleRandom): SampleRow {
    return {
      tenant_id: this.tenant(i),
      session_id: this.uuid("sessions", i),
      session_data: this.json(random),
      status: random.pick(["active", "archived", "expired"]),
      created_at: this.freeTime(random, i % 180),
      last_accessed_at: this.freeTime(random, i % 180),
      expires_at: random.chance(0.5) ? null : this.freeTime(random, i % 180),
      artifact_count: BigInt(random.int(0, 4)),
      updated_at: this.freeTime(random, i % 180),
    };
  }

  private content(i: number, random: SampleRandom): SampleRow {
    const length = this.contentSizes[i] ?? random.int(0, 599) + this.padding;
    const compressed = random.chance(0.3);
    return {
      tenant_id: this.tenant(i),
      content_hash: this.contentHash(i),
      data: random.bytes(length),
      size_bytes: BigInt(length),
      is_compressed: compressed,
      original_size_bytes: compressed ? BigInt(length) * 3n : random.chance(0.5) ? null : BigInt(length),
      reference_count: BigInt(random.int(1, 5)),
      created_at: this.freeTime(random, i % 180),
      last_accessed_at: this.freeTime(random, i % 180),
    };
  }

  /** The i-th row's parent among `count`, of the same tenant. */
  private parent(i: number, group: number, count: number): number {
    const tenant = i % TENANTS.length;
    const ofTenant = Math.floor((count - tenant - 1) / TENANTS.length) + 1;
    return tenant + TENANTS.length * (group % ofTenant);
  }

  private artifact(i: number, random: SampleRandom): SampleRow {
    const nth = Math.floor(i / TENANTS.length);
    const session = this.uuid("sessions", this.parent(i, nth >> 2, this.counts.sessions));
    // Every tenth shares its content with its predecessor.
    const hash = this.contentHash(this.parent(i, nth % 10 === 9 ? nth - 1 : nth, this.counts.artifact_content));
    const sequence = i === 0 ? 9223372036854775807n : BigInt(nth);
    return {
      tenant_id: this.tenant(i),
      artifact_id: `${session.uuid}:${sequence}:${hash}`,
      session_id: session,
      sequence,
      content_hash: hash,
      metadata: this.json(random),
      name: this.text(random, 255),
      artifact_type: random.pick(["file", "code", "Bild"]),
      mime_type: random.pick(["text/plain", "application/octet-stream"]),
      size_bytes: BigInt(random.int(0, 1000000)),
      created_at: this.freeTime(random, i % 180),
      created_by: random.chance(0.5) ? null : this.text(random, 255),
      version: BigInt(random.int(1, 3)),
      parent_artifact_id: random.chance(0.8) ? null : this.text(random, 512),
      tags: sampleTags(random),
      stored_at: this.freeTime(random, i % 180),
      updated_at: this.freeTime(random, i % 180),
    };
  }

  private event(i: number, random: SampleRandom): SampleRow {
    return {
      tenant_id: this.tenant(i),
      event_id: this.uuid("event_log", i),
      event_type: random.pick(["agent.started", "tool.called", "событие"]),
      correlation_id: this.uuid("correlation", i >> 3),
      timestamp: this.freeTime(random, i % 180),
      // llmspell's SQLite holds a sequence once per tenant; PostgreSQL has one per process, so duplicates.
      sequence: i === 0 ? 9223372036854775807n : BigInt(this.beyondSqlite ? i % 50 : i),
      language: random.pick(["lua", "javascript", "日本語"]),
      payload: this.json(random, this.padding),
    };
  }

  private hook(i: number, random: SampleRandom): SampleRow {
    const context = random.bytes(random.int(0, 120) + this.padding);
    return {
      execution_id: this.uuid("hook_history", i),
      tenant_id: this.tenant(i),
      hook_id: `hook-${i % 17}`,
      hook_type: this.text(random, 100),
      correlation_id: this.uuid("correlation", i >> 2),
      hook_context: context,
      result_data: this.json(random),
      timestamp: this.freeTime(random, i % 180),
      duration_ms: BigInt(random.int(0, 100000)),
      triggering_component: this.text(random, 255),
      component_id: this.text(random, 255),
      modified_operation: random.chance(0.5),
      tags: sampleTags(random),
      retention_priority: BigInt(random.int(0, 10)) - 5n,
      context_size: BigInt(context.length),
      contains_sensitive_data: random.chance(0.1),
      metadata: this.json(random),
      created_at: this.freeTime(random, i % 180),
    };
  }
}
