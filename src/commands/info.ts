/** `llmspell storage info`: reads a store as an export would, and says what it found. */

import { type Obstacle, type StoreSection, storeInfo, type TenantRecords } from "../api/store-info.js";
import { formatBytes } from "../byte-size.js";
import { EXIT, StorageError } from "../errors.js";
import { leftOutError } from "../pipeline.js";
import { chooseStore, configuredBecause, parseStore, type StoreFacts, storeName } from "../stores/index.js";
import { reportError } from "./shown/error-report.js";
import { createProgressDisplay, formatCount } from "./shown/progress.js";
import { announcedConfig, type CommonFlags, outputFor, type StoreFlags } from "./transfer.js";

export interface InfoFlags extends CommonFlags, StoreFlags {
  readonly strict?: boolean;
  readonly tenants?: boolean;
  readonly asOwner?: boolean;
  readonly lockTimeout?: number;
}

/** Gives the exit status. */
export async function runInfo(flags: InfoFlags, signal: AbortSignal, store?: string): Promise<number> {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  if (store !== undefined && (flags.backend !== undefined || flags.database !== undefined)) {
    throw new StorageError("E_USAGE", "name the store once: STORE, --backend or --database");
  }
  const { location, because } =
    store === undefined
      ? chooseStore(flags, config)
      : { location: parseStore(store, () => config), because: configuredBecause(store, config) };
  const name = storeName(location);
  output.line(`Store: ${name === "-" ? "standard input" : name}${because === undefined ? "" : ` (${because})`}`);
  if (because !== undefined) for (const warning of config.warnings) output.warn(warning);
  const progress = await createProgressDisplay(output, flags);
  const warnings: string[] = [];
  let facts: readonly Fact[] = [];
  const info = await storeInfo(location, {
    config,
    signal,
    ...(flags.tenants === undefined ? {} : { tenants: flags.tenants }),
    ...(flags.asOwner === undefined ? {} : { asOwner: flags.asOwner }),
    ...(flags.lockTimeout === undefined ? {} : { lockTimeoutSeconds: flags.lockTimeout }),
    onFacts(found) {
      facts = shownFacts(found);
      for (const { label, text } of facts) output.line(`${label}: ${text}`);
    },
    onStart: (_header, estimate) => progress.start(estimate),
    onProgress: (one) => progress.update(one),
    onWarning(message) {
      warnings.push(message);
      output.warn(message);
    },
  }).finally(() => progress.stop());

  const { backend, migrations, records, sections, tenants, rejected, obstacles, leftOut } = info;
  output.line(`Source backend: ${backend}`);
  output.line(`Migrations: ${migrations.join(", ")}`);
  output.line(`Records: ${formatCount(records)}`);
  for (const line of sectionLines(sections)) output.line(line);
  for (const line of tenantLines(tenants)) output.names(line);
  for (const line of obstacleLines(obstacles, leftOut.length === 0)) output.line(line);
  for (const line of leftOutLines(leftOut)) output.line(line);
  const refused = flags.strict === true && leftOut.length > 0 ? leftOutError(leftOut) : undefined;
  output.result({
    store: name,
    ...Object.fromEntries(facts.map(({ name, value }) => [name, value])),
    sourceBackend: backend,
    migrations,
    records,
    sections: Object.fromEntries(sections.map(({ path, ...section }) => [path, section])),
    ...(tenants === undefined ? {} : { tenants }),
    rejected,
    obstacles,
    warnings,
    leftOut,
    ...(refused === undefined ? {} : { error: reportError(refused) }),
  });
  if (refused === undefined) return EXIT.done;
  output.error(refused, true);
  return refused.exitStatus;
}

interface Fact {
  /** In the JSON result. */
  readonly name: string;
  readonly label: string;
  readonly text: string;
  readonly value: unknown;
}

/** In the order in which they are told. */
function shownFacts(facts: StoreFacts): Fact[] {
  const { sqliteVersion, serverVersion, pgvectorVersion, bytes, files, embeddings } = facts;
  const vector = serverVersion === undefined ? undefined : (pgvectorVersion ?? "not installed");
  const shapes =
    embeddings &&
    (Object.entries(embeddings)
      .map(([table, shape]) => `${table} (${shape})`)
      .join(", ") ||
      "none");
  const size = bytes === undefined ? undefined : formatBytes(bytes);
  const all: [name: string, label: string, text: string | undefined, value?: unknown][] = [
    ["sqliteVersion", "SQLite", sqliteVersion],
    ["serverVersion", "PostgreSQL", serverVersion],
    ["pgvectorVersion", "pgvector", vector],
    ["bytes", "Size", size, bytes],
    ["files", "Files", files === undefined ? undefined : formatCount(files), files],
    ["embeddings", "Embedding tables", shapes, embeddings],
  ];
  return all.flatMap(([name, label, text, value = text]) => (text === undefined ? [] : [{ name, label, text, value }]));
}

function sectionLines(sections: readonly StoreSection[]): string[] {
  const rows = sections.map(({ path, records, bytes }) => [path, formatCount(records), formatBytes(bytes)] as const);
  const width = (column: 0 | 1 | 2): number => Math.max(0, ...rows.map((row) => row[column].length));
  return rows.map(
    ([path, count, size]) => `  ${path.padEnd(width(0))}  ${count.padStart(width(1))}  ${size.padStart(width(2))}`,
  );
}

/** Names are of any length, so that the counts come first. */
function tenantLines(tenants: readonly TenantRecords[] | undefined): string[] {
  if (tenants === undefined) return [];
  const counts = tenants.map(({ records }) => formatCount(records));
  const width = Math.max(0, ...counts.map(({ length }) => length));
  return [
    `Tenants: ${formatCount(tenants.length)}`,
    ...tenants.map(({ tenant }, i) => `  ${counts[i]?.padStart(width)}  ${tenant}`),
  ];
}

function leftOutLines(leftOut: readonly string[]): string[] {
  if (leftOut.length === 0) return [];
  return ["An export would leave out (or, with --strict, stop at):", ...leftOut.map((line) => `  ${line}`)];
}

/** `complete`: nothing else would be left out. */
function obstacleLines(obstacles: readonly Obstacle[], complete: boolean): string[] {
  if (obstacles.length === 0) return complete ? ["An export would take every record."] : [];
  return [
    "An export would stop at these records (or leave them out, with --on-error skip):",
    ...obstacles.map(({ code, section, field, firstKey, count }) => {
      const where = field === undefined ? section : `${section}, field ${field}`;
      return `  ${formatCount(count)} in ${where} [${code}], first: ${firstKey ?? "no key"}`;
    }),
  ];
}
