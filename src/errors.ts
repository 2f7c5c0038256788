/**
 * The one error class and the one table of error codes. This file imports nothing.
 */

/** Exit statuses of the command line (docs/errors.md). */
export const EXIT = {
  done: 0,
  unexpected: 1,
  usage: 2,
  connection: 3,
  document: 4,
  target: 5,
  rejected: 6,
  differences: 7,
} as const;

/** Every code the tool raises: the exit status it leads to and what it means. */
export const ERROR_CODES = {
  E_UNEXPECTED: { exit: EXIT.unexpected, meaning: "An error nobody foresaw; please report it." },
  E_IO: { exit: EXIT.unexpected, meaning: "Reading or writing a file failed." },
  E_DISK_FULL: { exit: EXIT.unexpected, meaning: "No space is left where the output goes." },
  // 2: usage and configuration
  E_USAGE: { exit: EXIT.usage, meaning: "The command line is not understood." },
  E_CONFIG: { exit: EXIT.usage, meaning: "The configuration is not valid." },
  E_NO_EFFECT: {
    exit: EXIT.usage,
    meaning: "No record has what a mask or --tenant of verify or digest names: nothing was hidden, or compared.",
  },
  E_JQ_SYNTAX: { exit: EXIT.usage, meaning: "A jq expression is not valid jq." },
  E_JQ_UNSUPPORTED: { exit: EXIT.usage, meaning: "A jq expression needs the whole document at once." },
  E_PLUGIN_LOAD: { exit: EXIT.usage, meaning: "A plugin cannot be loaded, or refuses its options." },
  E_OUTPUT_EXISTS: { exit: EXIT.usage, meaning: "The output is an existing file that holds something else." },
  E_INPUT_NOT_FOUND: { exit: EXIT.usage, meaning: "The input file does not exist or cannot be read." },
  E_STORE_NOT_FOUND: { exit: EXIT.connection, meaning: "The database does not exist." },
  // 3: connection and permission
  E_CONNECT: { exit: EXIT.connection, meaning: "The server cannot be reached." },
  E_CONNECTION_TIMEOUT: { exit: EXIT.connection, meaning: "The server did not answer in time." },
  E_CONNECTION_LOST: { exit: EXIT.connection, meaning: "The connection broke during the run." },
  E_AUTHENTICATION: { exit: EXIT.connection, meaning: "The server refused the user or the password." },
  E_PERMISSION: { exit: EXIT.connection, meaning: "The role or user lacks a right that the run needs." },
  E_ROW_SECURITY: {
    exit: EXIT.connection,
    meaning: "Row-level security would hide rows from this role. The owner of the tables has --as-owner.",
  },
  E_READ_ONLY: { exit: EXIT.connection, meaning: "The target cannot be written." },
  E_LOCKED: { exit: EXIT.connection, meaning: "Another process or transaction holds the database, or rows of it." },
  E_NOT_A_DATABASE: { exit: EXIT.connection, meaning: "The file is no SQLite database, or is damaged." },
  E_HOT_JOURNAL: {
    exit: EXIT.connection,
    meaning: "A -wal or -journal stands in the way of opening the SQLite file.",
  },
  // 4: the document
  E_DOCUMENT_PARSE: { exit: EXIT.document, meaning: "The document is not valid JSON." },
  E_DOCUMENT_TRUNCATED: { exit: EXIT.document, meaning: "The document stops before its end." },
  E_DOCUMENT_TRAILING: { exit: EXIT.document, meaning: "Something follows the document's end." },
  E_DOCUMENT_VERSION: { exit: EXIT.document, meaning: "The document's version is not supported." },
  E_DOCUMENT_SHAPE: { exit: EXIT.document, meaning: "A part of the document has the wrong JSON type." },
  E_DOCUMENT_DUPLICATE: { exit: EXIT.document, meaning: "A section or a key stands twice." },
  E_DOCUMENT_LIMIT: { exit: EXIT.document, meaning: "A name, a header's value or the nesting is beyond any export's." },
  E_DOCUMENT_MANIFEST: { exit: EXIT.document, meaning: "The document's manifest does not agree with its content." },
  E_DOCUMENT_INVALID: { exit: EXIT.document, meaning: "validate has findings: an import would refuse the document." },
  E_DOCUMENT_COMPRESSION: { exit: EXIT.document, meaning: "The compressed input is damaged." },
  // 4: a source as a whole
  E_SOURCE_DAMAGED: {
    exit: EXIT.document,
    meaning: "An index of the source does not have its table's rows, or data of it cannot be read.",
  },
  E_NO_RECORDS: {
    exit: EXIT.document,
    meaning: "The run has no records, and the document that it would replace has some (--allow-empty).",
  },
  E_LEFT_OUT: { exit: EXIT.document, meaning: "The source holds what the run would leave out (--strict)." },
  // 4: one record of a document or database does not have its type (rejectable)
  E_MISSING_FIELD: { exit: EXIT.document, meaning: "A record lacks a field that it must have." },
  E_FIELD_TYPE: { exit: EXIT.document, meaning: "A field's value is not of its type." },
  E_INVALID_UUID: { exit: EXIT.document, meaning: "An id is no UUID, and the target holds UUIDs only." },
  E_INVALID_UTF8: { exit: EXIT.document, meaning: "A text is not valid UTF-8, or holds a lone surrogate." },
  E_INVALID_JSON: { exit: EXIT.document, meaning: "A json field does not hold valid JSON." },
  E_INVALID_BASE64: { exit: EXIT.document, meaning: "A base64 field does not hold valid base64." },
  E_INVALID_EMBEDDING: { exit: EXIT.document, meaning: "An embedding is missing or not readable." },
  E_DIMENSION_MISMATCH: { exit: EXIT.document, meaning: "An embedding has another dimension than its section." },
  E_LARGE_OBJECT_MISSING: { exit: EXIT.document, meaning: "An artifact's content is gone." },
  // 5: the data does not fit the target (rejectable)
  E_TOO_LONG: { exit: EXIT.target, meaning: "A text is longer than its column." },
  E_OUT_OF_RANGE: { exit: EXIT.target, meaning: "A number or a time is outside its column's range." },
  E_NUL_CHARACTER: { exit: EXIT.target, meaning: "PostgreSQL cannot hold U+0000 in text or json." },
  E_LONE_SURROGATE: { exit: EXIT.target, meaning: "PostgreSQL cannot hold a lone surrogate in json." },
  E_ENCODING: { exit: EXIT.target, meaning: "The database's encoding cannot hold a character (it is not UTF-8)." },
  E_NOT_FINITE: { exit: EXIT.target, meaning: "A vector holds NaN or Infinity, which pgvector rejects." },
  E_CHECK: { exit: EXIT.target, meaning: "A record breaks a CHECK constraint." },
  E_TARGET_LIMIT: { exit: EXIT.target, meaning: "A value exceeds a limit of the target database." },
  E_JQ: { exit: EXIT.target, meaning: "A jq expression failed at a record, or gave something that is no record." },
  E_JQ_LIMIT: {
    exit: EXIT.target,
    meaning: "A jq expression took too long at a record or when it was compiled, or too much memory.",
  },
  E_PLUGIN: { exit: EXIT.target, meaning: "A plugin failed at a record, or gave something that is no record." },
  E_PLUGIN_TIMEOUT: { exit: EXIT.target, meaning: "A plugin did not come to an end in time." },
  E_ORPHAN: { exit: EXIT.target, meaning: "A record refers to a record that is not there." },
  E_PARENT_REJECTED: { exit: EXIT.target, meaning: "The record that it belongs to was rejected." },
  E_CONFLICT: {
    exit: EXIT.target,
    meaning: "The target already has the record (--on-conflict error), or rows in a table without a key.",
  },
  E_TENANT_CONFLICT: { exit: EXIT.target, meaning: "The target has the record under another tenant." },
  E_KEY_CONFLICT: { exit: EXIT.target, meaning: "Two records meet on one unique key." },
  // 5: the target as a whole
  E_NOT_EMPTY: { exit: EXIT.target, meaning: "The target has records already (--require-empty)." },
  E_RUN_UNFINISHED: { exit: EXIT.target, meaning: "The target has an unfinished run: resume it, or undo it." },
  E_RUN_TAKEN: { exit: EXIT.target, meaning: "Another process has resumed, undone or finished the run." },
  E_NOT_MIGRATED: {
    exit: EXIT.target,
    meaning: "The target lacks a table or column; run `llmspell database migrate`.",
  },
  E_SCHEMA: { exit: EXIT.target, meaning: "The schema is not what the migrations expect." },
  E_READ_BACK: { exit: EXIT.target, meaning: "What was read back after it was loaded is not what was sent." },
  E_CONSTRAINT: { exit: EXIT.target, meaning: "The target refused the data." },
  // 6 and 7
  E_REJECTED: { exit: EXIT.rejected, meaning: "The run finished, but records were rejected." },
  E_DIFFERENT: { exit: EXIT.differences, meaning: "The stores differ." },
  // ended from outside
  E_INTERRUPTED: { exit: 130, meaning: "Interrupted (Ctrl-C)." },
  E_TERMINATED: { exit: 143, meaning: "Terminated (SIGTERM)." },
  E_CLOSED_PIPE: { exit: 141, meaning: "The reader of the output went away." },
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Where an error happened. Holds no values but those that identify the record. */
export interface ErrorContext {
  /** The section's path, e.g. `artifacts.content`. */
  section?: string;
  /** The record's key as text, e.g. `tenant_id=a, session_id=…`. */
  key?: string;
  field?: string;
  /** Of an export directory: the name of the file that it is in. */
  file?: string;
  /** The document's line, from 1: where the record begins, or where it could not be read on. */
  line?: number;
  /** What to do about it, one or two sentences. */
  hint?: string;
  /** A `Caused by:` line of our own, where there is no error object. */
  detail?: string;
  /** The steps that the record came through, any of which may have changed the field. */
  steps?: readonly string[];
  /** The target may have all of the records, or none: nobody was told whether it committed. */
  outcomeUnknown?: true;
  /** The run over several connections that ended early: what it has loaded stays until it is resumed or undone. */
  unfinishedRun?: number;
}

/** The only error class that leaves the library. `message` is one line and holds no data values. */
export class StorageError extends Error {
  override readonly name = "StorageError";
  readonly code: ErrorCode;
  readonly context: ErrorContext;

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.context = context;
  }

  /** The exit status that the command line ends with. */
  get exitStatus(): number {
    return ERROR_CODES[this.code].exit;
  }
}

/** `error` as a StorageError: itself, or wrapped as E_UNEXPECTED. */
export function toStorageError(error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new StorageError("E_UNEXPECTED", message, {}, error);
}
