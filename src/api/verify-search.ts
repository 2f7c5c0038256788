/** Whether searches have the same answers in both stores, and how good the answers of their indexes are. */
import type { RecordKind } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import { catalog as standardCatalog } from "../llmspell/catalog/index.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { SearchAnswers } from "../stores/backend.js";
import { databaseOf, sessionOptions } from "../stores/index.js";
import {
  embeddingField,
  hits,
  isSameAnswer,
  NearestNeighbours,
  type Query,
  QueryChooser,
} from "../verify/comparison/nearest.js";
import type { Side } from "../verify/comparison/record-join.js";
import { randomSeed } from "../verify/comparison/verification.js";
import { isRereadable, isSource, Reading, type Run, type Stores } from "./verify-reading.js";

/** So many nearest neighbours are asked for. */
const NEIGHBOURS = 10;

export interface SearchResult {
  readonly path: string;
  /** Embeddings that were searched for; fewer than asked for where A has fewer. */
  readonly queries: number;
  /** Searches whose nearest ones are the same in both stores, by cosine distance, ties among them. */
  readonly same: number;
  /** The share of the exact answers that an index gives (0 to 1): HNSW in PostgreSQL, vec0 in SQLite; undefined without one. */
  readonly recall: Readonly<Record<Side, number | undefined>>;
}

export interface Searches {
  readonly neighbours: number;
  readonly seed: string;
  readonly results: readonly SearchResult[];
}

/** E_USAGE where a store can be read once only. */
export function requireSearchable({ a, b }: Stores, search: number | undefined): void {
  if (search === undefined) return;
  if (!Number.isSafeInteger(search) || search < 1)
    throw new StorageError("E_USAGE", "the number of searches is no positive integer");
  for (const store of [a, b])
    if (!isRereadable(store))
      throw new StorageError("E_USAGE", "searches read the stores again, which a stream is not enough for");
}

/** Reads the embeddings of A, and then those of both. */
export async function compareSearches(
  run: Run,
  count: number,
  selected: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Searches> {
  const { catalog = standardCatalog } = run.options;
  const seed = run.options.seed ?? run.sample?.seed ?? randomSeed();
  const kinds = catalog.kinds.filter((kind) => selected.has(kind.path) && embeddingField(kind) !== -1);
  const results: SearchResult[] = [];
  for (const kind of kinds) {
    const field = embeddingField(kind);
    const chooser = new QueryChooser(count, seed);
    await readAll(run, "a", kind, signal, (batch) => chooser.see(batch, field));
    const { queries } = chooser;
    if (queries.length === 0) continue;
    const exact = { a: new NearestNeighbours(queries, NEIGHBOURS), b: new NearestNeighbours(queries, NEIGHBOURS) };
    for (const side of ["a", "b"] as const)
      await readAll(run, side, kind, signal, (batch) => exact[side].see(batch, field));
    const same = queries.filter((_, at) => isSameAnswer(exact.a.nearest(at, "cosine"), exact.b.nearest(at, "cosine")));
    const recall = {
      a: await recallOf(run, "a", kind, queries, exact.a),
      b: await recallOf(run, "b", kind, queries, exact.b),
    };
    results.push({ path: kind.path, queries: queries.length, same: same.length, recall });
  }
  return { neighbours: NEIGHBOURS, seed, results };
}

/** What cannot be read was told when the records were compared. */
async function readAll(
  run: Run,
  side: Side,
  kind: RecordKind,
  signal: AbortSignal,
  see: (batch: RecordBatch) => void,
): Promise<void> {
  const { exclude: _, onWarning: _told, ...options } = run.options;
  const paths = new Set([kind.path]);
  const only: Run = { ...run, options: { ...options, include: [kind.path] } };
  const reading = new Reading(side, only, { signal, reject: () => {}, progress: undefined, paths });
  try {
    for await (const batch of reading.batches()) if (batch.kind === kind) see(batch);
  } finally {
    await reading.end();
  }
}

/** Of A only where nothing stands between it and its records. */
async function recallOf(
  run: Run,
  side: Side,
  kind: RecordKind,
  queries: readonly Query[],
  exact: NearestNeighbours,
): Promise<number | undefined> {
  const { transforms, tenants } = run.options;
  if ((side === "a" && transforms.length > 0) || tenants !== undefined) return undefined;
  const answers = await answersOf(
    run,
    side,
    kind,
    queries.map(({ vector }) => vector),
  );
  if (answers === undefined) return undefined;
  let found = 0;
  let possible = 0;
  for (const [at, ids] of answers.ids.entries()) {
    const nearest = exact.nearest(at, answers.metric);
    possible += Math.min(NEIGHBOURS, nearest.length);
    found += Math.min(NEIGHBOURS, hits(ids, nearest));
  }
  return possible === 0 ? undefined : found / possible;
}

async function answersOf(
  { options, stores, config, list }: Run,
  side: Side,
  kind: RecordKind,
  vectors: readonly Float32Array[],
): Promise<SearchAnswers | undefined> {
  const store = stores[side];
  const database = isSource(store) ? undefined : databaseOf(store, list);
  if (isSource(store) || database?.search === undefined) return undefined;
  return database.search(store, kind, { ...sessionOptions(store, options, config, list), vectors, count: NEIGHBOURS });
}
