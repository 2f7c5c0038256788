/** What a plugin is: docs/plugins.md. */

/**
 * A record as a plugin sees it: the document's keys. text and uuid are strings; int4 and int8 are numbers, beyond 2^53
 * bigints; times are bigint microseconds since 1970, "infinity" or "-infinity"; bytes are Buffers; an embedding is a
 * Float32Array; json is its value, whose integers beyond 2^53 are bigints; a text array is an array. SQL NULL is null, in a
 * json field undefined.
 */
// biome-ignore lint/suspicious/noExplicitAny: a plugin knows the fields of the sections it asked for
export type PluginRecord = Record<string, any>;

export interface PluginContext<Options = unknown, State = unknown> {
  /** What the schema made of the options that were given. */
  readonly options: Options;
  /** What `setup` gave. */
  readonly state: State;
  /** The records' section, e.g. "vector_embeddings.768"; in setup and flush "". */
  readonly section: string;
  /** Aborted when the run is interrupted. */
  readonly signal: AbortSignal;
  /** One line for the user, on stderr; the same line is shown once. */
  warn(message: string): void;
  /** The record as one of another section, which `emits` must name: `return context.into("vector_embeddings.384", record)`. */
  into(section: string, record: PluginRecord): PluginRecord;
}

/** One record, several, or null: dropped. */
export type PluginResult = PluginRecord | readonly PluginRecord[] | null;

interface CommonDefinition<Options, State> {
  /** For messages. */
  readonly name: string;
  /** The sections it wants, as --include takes them; the others pass by. Default: all. */
  readonly sections?: readonly string[];
  /** Sections that it gives records for besides the record's own. */
  readonly emits?: readonly string[];
  /** Says that it drops no record, so that sessions and artifacts need not be read twice. */
  readonly drops?: false;
  /**
   * Says that each record is changed by itself, whatever came before it: with --jobs there is then one plugin in each thread,
   * with `setup` and `flush` of its own. Default: the plugin gets all records, in one thread.
   */
  readonly parallel?: true;
  /** Checks the options, e.g. a zod schema. Without it no options are taken. */
  readonly options?: { parse(value: unknown): Options };
  /** Hold contents of 1 MiB and more in memory, as `data`. Default: they pass by, and reading `data` throws. */
  readonly content?: boolean;
  /** How many calls may be under way at once, of an asynchronous transform of single records. Default 8. */
  readonly concurrency?: number;
  /** Called once per pass over the data, before the first record. */
  setup?(context: PluginContext<Options, undefined>): State | Promise<State>;
  /** Called after the last record; its records need context.into. */
  flush?(context: PluginContext<Options, State>): FlushResult | Promise<FlushResult>;
}

// biome-ignore lint/suspicious/noConfusingVoidType: a flush without records needs no return
type FlushResult = PluginResult | void;

export interface RecordDefinition<Options = unknown, State = unknown> extends CommonDefinition<Options, State> {
  readonly batch?: false;
  transform(record: PluginRecord, context: PluginContext<Options, State>): PluginResult | Promise<PluginResult>;
}

export interface BatchDefinition<Options = unknown, State = unknown> extends CommonDefinition<Options, State> {
  /** `transform` gets many records of one section at a time (at most 4096) and gives those that go on, in their order. */
  readonly batch: true;
  transform(
    records: readonly PluginRecord[],
    context: PluginContext<Options, State>,
  ): readonly PluginRecord[] | Promise<readonly PluginRecord[]>;
}

// biome-ignore lint/suspicious/noExplicitAny: whoever runs a plugin knows neither its options nor its state
export type TransformDefinition<Options = any, State = any> =
  | RecordDefinition<Options, State>
  | BatchDefinition<Options, State>;

/** Gives the definition back, with its types checked; a plugin's module exports it as its default. */
export function defineTransform<Options = unknown, State = undefined>(
  definition: RecordDefinition<Options, State>,
): RecordDefinition<Options, State>;
export function defineTransform<Options = unknown, State = undefined>(
  definition: BatchDefinition<Options, State>,
): BatchDefinition<Options, State>;
export function defineTransform(definition: TransformDefinition): TransformDefinition {
  return definition;
}
