/** The nearest neighbours of some embeddings among all of a store's, by exact distance: every embedding is looked at. */
import { hash } from "node:crypto";
import { fieldIndex, type RecordKind } from "../../catalog/index.js";
import { idText, uuidDigits } from "../../codecs/uuid.js";
import type { RecordBatch } from "../../records/record-batch.js";

/** llmspell searches by the cosine distance; vec0 by the Euclidean one where its table does not say otherwise. */
export type Metric = "cosine" | "euclidean";

export interface Query {
  /** The id as `sameId` gives it. */
  readonly id: string;
  readonly vector: Float32Array;
}

export interface Neighbour {
  readonly id: string;
  readonly distance: number;
}

/** A UUID in one spelling, other ids as they are. */
export function sameId(id: string): string {
  return uuidDigits(id)?.toLowerCase() ?? id;
}

/** The fields of a kind that has embeddings: -1 for others. */
export function embeddingField(kind: RecordKind): number {
  return kind.fields.findIndex(({ type }) => type === "vector");
}

function idOf(batch: RecordBatch, row: number): string {
  const at = row * batch.width + fieldIndex(batch.kind, batch.kind.key[0] as string);
  return sameId(idText(batch.bytes, batch.starts[at] as number, batch.lengths[at] as number));
}

function vectorOf(batch: RecordBatch, row: number, field: number): Float32Array {
  return new Float32Array(Uint8Array.from(batch.value(row, field)).buffer);
}

/** So many embeddings of a kind, which the seed chooses; none that has no direction. */
export class QueryChooser {
  private readonly chosen: (Query & { readonly hash: string })[] = [];

  constructor(
    private readonly size: number,
    private readonly seed: string,
  ) {}

  see(batch: RecordBatch, field: number): void {
    for (let row = 0; row < batch.rows; row++) {
      const id = idOf(batch, row);
      const digest = hash("sha256", `${this.seed}\n${batch.kind.path}\n${id}`);
      if (this.chosen.length === this.size && digest >= (this.chosen.at(-1)?.hash ?? "")) continue;
      const vector = vectorOf(batch, row, field);
      const length = norm(vector);
      if (!(length > 0 && length < Number.POSITIVE_INFINITY)) continue;
      this.chosen.push({ id, vector, hash: digest });
      this.chosen.sort((one, other) => (one.hash < other.hash ? -1 : 1));
      this.chosen.length = Math.min(this.chosen.length, this.size);
    }
  }

  get queries(): readonly Query[] {
    return this.chosen;
  }
}

function norm(vector: Float32Array): number {
  let sum = 0;
  for (const value of vector) sum += value * value;
  return Math.sqrt(sum);
}

/** For each query the `count` nearest of all that `see` was given, with those that are as far as the last of them. */
export class NearestNeighbours {
  private readonly found: Readonly<Record<Metric, Neighbour[]>>[];
  private readonly norms: readonly number[];

  constructor(
    private readonly queries: readonly Query[],
    private readonly count: number,
  ) {
    this.found = queries.map(() => ({ cosine: [], euclidean: [] }));
    this.norms = queries.map(({ vector }) => norm(vector));
  }

  see(batch: RecordBatch, field: number): void {
    for (let row = 0; row < batch.rows; row++) {
      const vector = vectorOf(batch, row, field);
      const length = norm(vector);
      const id = idOf(batch, row);
      for (const [index, query] of this.queries.entries()) {
        const { vector: other } = query;
        let dot = 0;
        let squares = 0;
        for (let i = 0; i < vector.length; i++) {
          const [one, two] = [vector[i] as number, other[i] as number];
          dot += one * two;
          squares += (one - two) * (one - two);
        }
        const found = this.found[index] as Readonly<Record<Metric, Neighbour[]>>;
        if (length > 0) this.add(found.cosine, id, 1 - dot / (length * (this.norms[index] as number)));
        this.add(found.euclidean, id, Math.sqrt(squares));
      }
    }
  }

  /** In the order of their distance; of those that are equally far the ids decide. */
  nearest(query: number, metric: Metric): readonly Neighbour[] {
    return this.found[query]?.[metric] ?? [];
  }

  private add(found: Neighbour[], id: string, distance: number): void {
    const last = found[this.count - 1]?.distance ?? Number.POSITIVE_INFINITY;
    // NaN is no distance.
    if (!(distance <= last) || distance === Number.POSITIVE_INFINITY) return;
    let at = found.length;
    while (at > 0 && isAfter(found[at - 1] as Neighbour, distance, id)) at--;
    found.splice(at, 0, { id, distance });
    const limit = found[this.count - 1]?.distance;
    if (limit === undefined) return;
    while (found.length > MOST_TIES + this.count || (found.at(-1)?.distance ?? 0) > limit) found.pop();
  }
}

/** So many that are as far as the last one are kept. */
const MOST_TIES = 1000;

function isAfter(neighbour: Neighbour, distance: number, id: string): boolean {
  return neighbour.distance > distance || (neighbour.distance === distance && neighbour.id > id);
}

/** Whether both have the same neighbours, ties among them. */
export function isSameAnswer(a: readonly Neighbour[], b: readonly Neighbour[]): boolean {
  return a.length === b.length && a.every(({ id, distance }, at) => id === b[at]?.id && distance === b[at]?.distance);
}

/** How many of an index's answers (ids) are among the exact ones or as near. */
export function hits(answer: readonly string[], exact: readonly Neighbour[]): number {
  const ids = new Set(exact.map(({ id }) => id));
  return answer.filter((id) => ids.has(sameId(id))).length;
}
