/**
 * The options of the command line, each said once.
 * Over 300 lines: one entry per option.
 */
import { InvalidArgumentError, Option } from "commander";
import { BACKEND_NAMES_HINT, parseBackendName } from "../../config/index.js";
import type { LagBound } from "../../records/loads/lag-bound.js";
import { backends } from "../../stores/backend-registry.js";
import { parseMapTenant, parsePlugin, type TransformSpec } from "../../transforms/spec.js";

function choice(flags: string, description: string, ...choices: string[]): Option {
  return new Option(flags, description).choices(choices);
}

function repeatable(flags: string, description: string, check = (value: string): string => value): Option {
  return new Option(flags, `${description} (repeatable)`).argParser(
    (value: string, previous: readonly string[] | undefined) => [...(previous ?? []), check(value)],
  );
}

function notEmpty(value: string): string {
  if (value !== "") return value;
  throw new InvalidArgumentError("It is empty.");
}

function positiveInteger(text: string): number {
  const number = /^[0-9]+$/.test(text) ? Number(text) : 0;
  if (number > 0 && Number.isSafeInteger(number)) return number;
  throw new InvalidArgumentError("It is a positive integer.");
}

export const required = (flags: string, description: string): Option =>
  new Option(flags, description).makeOptionMandatory();

/** The forms of STORE texts that name a database. */
const FORMS = backends
  .filter(({ database }) => database !== undefined)
  .flatMap(({ locations }) => locations.shortForms ?? locations.forms);
const STORE_HELP = `${FORMS.slice(0, -1).join(", ")} or ${FORMS.at(-1)}`;

function backendName(value: string): string {
  if (parseBackendName(value) !== undefined) return value;
  throw new InvalidArgumentError(BACKEND_NAMES_HINT);
}

/** Which database a command acts on. */
export const storeOptions = (): Option[] => [
  new Option("--backend <BACKEND>", "sqlite or postgres, as configured").argParser(backendName),
  new Option("--database <STORE>", `another database than the configured one: ${STORE_HELP}`),
];

export const migrateOptions = (): Option[] => [
  new Option(
    "--repair-rowids",
    "SQLite: give vectors rowids that leave llmspell's next ones room (its saved .hnsw indexes are stale then)",
  ),
];

/** Standard output by its names as a file: nothing but the document may go there, as with `-`. */
const STDOUT_FILES: ReadonlySet<string> = new Set(["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]);

export const documentOptions = (): Option[] => [
  required("--output <FILE>", "the document: a file, a directory (DIR/) for many, or - for standard output").argParser(
    (name: string) => (STDOUT_FILES.has(name) ? "-" : name),
  ),
  choice("--compress <FORMAT>", "default: by the file's name", "auto", "gzip", "zstd", "none"),
  new Option(
    "--part-size <SIZE>",
    "of each file of a directory, e.g. 500MB: bytes of values (default: 64MB)",
  ).argParser(byteSize),
  new Option("--force", "replace a file that is no export document"),
  new Option("--allow-empty", "replace a document that has records by one that has none"),
  new Option(
    "--keep <N>",
    "the output's name tells the time (%Y-%m-%dT%H%M%SZ, UTC): remove all but the newest N of that form",
  ).argParser(positiveInteger),
  choice("--vectors <FORM>", "embeddings as base64 (default), or as arrays of numbers", "base64", "json"),
];

/** Of every command that can read with several threads. */
export const jobsOption = (): Option =>
  new Option("--jobs <N>", "so many threads, or as many as there are cores (auto); default: 1").argParser(jobsNumber);

function jobsNumber(text: string): number | "auto" {
  return text === "auto" ? text : positiveInteger(text);
}

/** Of every command that reads a database, `info` too. */
export const strictOption = (): Option =>
  new Option("--strict", "tables, columns and rows that would be left out are an error, not a warning");

/** Of every command that reads a database. */
export const asOwnerOption = (): Option =>
  new Option(
    "--as-owner",
    "PostgreSQL, as the owner of the tables: read all tenants, though row-level security is forced",
  );

export const tenantsOption = (): Option => new Option("--tenants", "count the records of each tenant, too");

/** Of every command that reads the records of databases. */
const readingOptions = (): Option[] => [
  choice("--source-mode <MODE>", "how PostgreSQL is read: COPY where it can be had (auto)", "auto", "copy", "cursor"),
  choice(
    "--source-check <HOW>",
    "PostgreSQL: count each table, to find damaged indexes, or trust them",
    "count",
    "none",
  ),
  asOwnerOption(),
  choice(
    "--order-by <HOW>",
    "how records come by their keys: along an index, or by sorting tables that are larger than memory (auto)",
    "auto",
    "index",
    "sort",
  ),
];

/** Of every command that moves records out of a database. */
export const sourceOptions = (): Option[] => [strictOption(), ...readingOptions(), orderOption()];

const orderOption = (): Option =>
  choice(
    "--order <WHAT>",
    "records by their keys (default), or as the tables have them, which is faster",
    "key",
    "table",
  );

/** Which records. */
const selectionOptions = (): Option[] => [
  repeatable("--include <SECTION>", "only this section, e.g. artifacts or vector_embeddings.768"),
  repeatable("--exclude <SECTION>", "all but this section"),
  repeatable("--tenant <ID>", "only this tenant's records", notEmpty),
];

const idOptions = (): Option[] => [
  choice(
    "--invalid-uuid <WHAT>",
    "ids that are no UUIDs: keep (default, not into PostgreSQL), error (default there), or derive a UUIDv5",
    "keep",
    "error",
    "derive",
  ),
  new Option(
    "--id-map <FILE>",
    "ids and the UUIDs that stand for them: written where ids become UUIDs, read elsewhere",
  ),
];

export const lockTimeoutOption = (): Option =>
  new Option(
    "--lock-timeout <SECONDS>",
    "how long a lock of others is waited for (default: 5 for SQLite and --as-owner; PostgreSQL's own setting)",
  ).argParser(seconds);

const cascadeOptions = (): Option[] => [
  new Option("--cascade", "what belongs to records that a transform drops goes with them (default)"),
  new Option("--no-cascade", "leave it as it is: orphans are an error at the import"),
];

const tenantsFromOption = (): Option =>
  new Option("--tenants-from <FILE>", "only the tenants that the file names, one a line").argParser(notEmpty);

/** Of every command that moves records. */
export const transferOptions = (): Option[] => [
  ...selectionOptions(),
  tenantsFromOption(),
  new Option("--limit <N>", "at most N records of each section; artifacts keep their session and content").argParser(
    positiveInteger,
  ),
  ...cascadeOptions(),
  choice("--on-error <WHAT>", "at a bad record: stop (default), or skip it and go on", "stop", "skip"),
  new Option("--rejects <FILE>", "with --on-error skip: write each rejected record with its reason, as NDJSON"),
  ...idOptions(),
  reportOption(),
  new Option("--digests", "say what the records mean as they come to the target, as `storage digest` does"),
  lockTimeoutOption(),
  rateOption(),
];

export const rateOption = (): Option =>
  new Option("--rate <MB/s>", "move no more of the records in a second: 5 (MB), 500KB").argParser(byteRate);

/** Of every command that moves records: what it would do, and nothing else. */
export const planOptions = (): Option[] => [
  new Option("--plan", "say what it would do, and write nothing (as `storage plan` does)"),
  exactOption(),
  measureOption(),
];

export const measureOption = (): Option =>
  new Option(
    "--measure",
    "times by some of the records, which are written to temporary tables or a temporary file, and removed",
  );

export const exactOption = (): Option =>
  new Option("--exact", "a plan by a full pass of the source: what the target has of it, and what it would refuse");

/** Of every command that moves or compares records. */
export const reportOption = (): Option =>
  new Option(
    "--report <FILE>",
    "write what came of it as a page (.html) or for programs (.json), also where it failed",
  );

/**
 * Of every command that moves records. Each of them has the one list of all steps for its value: they run in the order in
 * which the command line gives them.
 */
export const transformOptions = (): Option[] => {
  const steps: TransformSpec[] = [];
  const step = (flags: string, description: string, parse: (text: string) => TransformSpec): Option =>
    new Option(flags, `${description} (repeatable)`).argParser((text: string) => {
      steps.push(parse(text));
      return steps;
    });
  return [
    step("--map-tenant <OLD=NEW>", "give one tenant's records to another", parseMapTenant),
    step("--jq <EXPR>", "rewrite records with a jq expression", (expression) => ({ type: "jq", expression })),
    step("--mask <RULE>", "SECTION.PATH=redact|null|hash[:KEYENV]|email", (rule) => ({ type: "mask", rule })),
    step("--mask-optional <RULE>", "the same, of a path that no record need have", (rule) => ({
      type: "mask",
      rule,
      optional: true,
    })),
    step("--plugin <MODULE>", "a module of yours; with options: MODULE:JSON", parsePlugin),
    new Option("--jq-timeout <SECONDS>", "how long an expression may take for a record (default: 30)").argParser(
      seconds,
    ),
    new Option(
      "--plugin-timeout <SECONDS>",
      "how long a plugin may take for a record or a batch (default: 30)",
    ).argParser(seconds),
  ];
};

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };

function byteSize(text: string): number {
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?) ?([kmgt]?)b?$/i.exec(text) ?? [];
  const bytes = Math.floor(Number(digits) * (UNITS[unit.toLowerCase()] as number));
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new InvalidArgumentError("It is a size: 64MB, 1.5GB, 500000.");
}

/** A number alone is one of megabytes. */
function byteRate(text: string): number {
  const size = /^(.+?)(?:\/s)?$/i.exec(text)?.[1] ?? "";
  return byteSize(/^[\d.]+$/.test(size) ? `${size}MB` : size);
}

function lagBound(text: string): LagBound {
  const number = /^(.+?) ?s?$/i.exec(text)?.[1] ?? "";
  return /^[\d.]+$/.test(number) ? { seconds: seconds(number) } : { bytes: byteSize(text) };
}

function seconds(text: string): number {
  const value = Number(text);
  // A timer's range in milliseconds is 2^31 - 1.
  if (text.trim() !== "" && value > 0 && value <= 2_147_483) return value;
  throw new InvalidArgumentError("It takes a number of seconds.");
}

/** Of every command that reads a document. */
export const documentReadingOptions = (): Option[] => [
  choice("--times <UNIT>", "of a document that does not tell: microseconds or seconds", "us", "s"),
  new Option("--no-verify-manifest", "also where the document does not agree with its manifest"),
];

export const validateOptions = (): Option[] => [
  new Option("--for <BACKEND>", "also what sqlite or postgres cannot hold").argParser(backendName),
  new Option("--findings <FILE>", "write each finding with its line, as NDJSON"),
  ...documentReadingOptions(),
];

/** Of commands that load a database. */
const loadJobsOption = (): Option =>
  new Option(
    "--jobs <N>",
    "so many threads (auto: as many as there are cores); PostgreSQL: load with N connections: a run, which can be resumed and undone, instead of one transaction",
  ).argParser(jobsNumber);

export const watchOption = (): Option => new Option("--watch", "go on showing it until it is finished");

/** Of every command that writes a database. */
export const loadOptions = (): Option[] => [
  choice("--on-conflict <WHAT>", "a record that is there already: update (default)", "update", "skip", "error"),
  choice("--on-orphan <WHAT>", "an artifact without session or content: error (default)", "error", "drop"),
  choice("--vectors-as <SHAPE>", "new SQLite embedding tables: blob (default)", "blob", "vec0"),
  choice(
    "--defer-indexes <WHEN>",
    "build PostgreSQL's secondary indexes after the rows: for large loads (auto)",
    "auto",
    "always",
    "never",
  ),
  new Option("--translate <WHAT>", "llmspell[:TENANT]: what it spells otherwise in the target's backend").argParser(
    (text: string) => {
      if (/^llmspell(:.+)?$/s.test(text)) return text;
      throw new InvalidArgumentError("It is llmspell, or llmspell:TENANT for its graph (docs/llmspell.md).");
    },
  ),
  loadJobsOption(),
  new Option("--verify-parts", "with --jobs: read each part back before it is committed, and compare"),
  new Option("--index-jobs <N>", "with --jobs: build so many indexes at a time (default: as --jobs)").argParser(
    positiveInteger,
  ),
  new Option(
    "--max-lag <BOUND>",
    "PostgreSQL: pause while a standby of the target is further behind than so many seconds (10) or bytes of its log (64MB)",
  ).argParser(lagBound),
  new Option("--dry-run", "everything but the commit"),
  new Option("--prune", "remove the target's records that the source does not have any more"),
  new Option("--allow-empty", "with --prune: also where a section comes without any record"),
  new Option("--require-empty", "refuse a target that has records of the selected sections"),
  ...documentReadingOptions(),
];

/** What A is compared as, and how; transforms besides. */
export const verifyOptions = (): Option[] => [
  new Option("--strict", "identical, not only equal by meaning; and every finding counts"),
  new Option("--differences <FILE>", "write each difference with section, key and fields, as NDJSON"),
  new Option("--show-values", "the values that differ, too"),
  new Option("--sample <N>", "compare N records of each section, chosen by the seed").argParser(positiveInteger),
  new Option("--search <N>", "search for N embeddings of each dimension: the nearest ones must be the same").argParser(
    positiveInteger,
  ),
  new Option(
    "--jobs <N>",
    "2: each store is read in a thread of its own; 1: none is (default: 2 for large stores, where there are cores)",
  ).argParser((text: string) => {
    if (text === "1" || text === "2") return Number(text);
    throw new InvalidArgumentError("It is 1 or 2.");
  }),
  new Option("--seed <TEXT>", "of the sample and the searches (default: a new one, which is printed)"),
  reportOption(),
  ...selectionOptions(),
  tenantsFromOption(),
  ...cascadeOptions(),
  ...idOptions(),
  ...documentReadingOptions(),
  ...readingOptions(),
  lockTimeoutOption(),
];

const named = (options: readonly Option[], ...names: readonly string[]): Option[] =>
  options.filter((option) => names.includes(option.attributeName()));

/** Of a command that reads any store to say what is in it. */
export const digestOptions = (): Option[] => [
  ...named(transferOptions(), "include", "exclude", "tenant", "tenantsFrom", "cascade", "invalidUuid", "idMap"),
  ...transformOptions(),
  ...sourceOptions(),
  ...named(loadOptions(), "times", "verifyManifest"),
  lockTimeoutOption(),
];

/** Of every command, also before its name. */
export const configOption = (): Option =>
  new Option("-c, --config <FILE>", "the one configuration file to read (LLMSPELL_CONFIG)");

/** Of every command. */
export const commonOptions = (): Option[] => [
  new Option("--quiet", "nothing but errors"),
  new Option("--verbose", "the stack of an error too"),
  new Option("--json", "the result as one JSON object"),
  choice("--log-format <FORMAT>", "of what goes to stderr", "text", "json"),
  new Option("--no-progress", "no progress"),
];
