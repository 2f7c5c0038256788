/**
 * Counters that parents keep of their children (ForeignKey.counter): a record brings its own as it was exported. Where
 * the target has children of its own, or keeps its own parent, the counter has to be raised.
 */
import type { ForeignKey, RecordKind } from "../../../catalog/index.js";
import { mainTable, quoted } from "../table.js";
import { column, parentOf, type Writers, writtenRows } from "./foreign-keys.js";
import type { Load } from "./load-session.js";
import type { TableWriter } from "./table-writer.js";

/** When all is merged. Gives a line for each field that was raised. */
export function raiseCounters(load: Load, writers: Writers): string[] {
  const notes: string[] = [];
  for (const kind of load.catalog.kinds) {
    for (const key of kind.foreignKeys) {
      if (key.counter === undefined) continue;
      const raised = raiseCounter(load, kind, key, key.counter, writers);
      const { noun } = parentOf(load, key);
      if (raised > 0)
        notes.push(
          `${key.counter} of ${raised} ${noun}${raised === 1 ? "" : "s"} was raised: source and target both have ${kind.noun}s of it`,
        );
    }
  }
  return notes;
}

function raiseCounter(load: Load, kind: RecordKind, key: ForeignKey, counter: string, writers: Writers): number {
  const parent = parentOf(load, key);
  const name = column(parent, counter);
  const own = key.fields.map((field) => `c.${column(kind, field)}`).join(", ");
  const pairs = key.fields.map(
    (field, i) => `p.${column(parent, key.referencedFields[i] as string)} = counted.${column(kind, field)}`,
  );
  /** Of the parents that meet `rows`, by the children that meet `children`. */
  const raise = (rows: string, children: string, value: string, more = ""): number =>
    load.database
      .prepare(
        `UPDATE ${quoted(mainTable(parent))} AS p SET ${name} = ${value}
         FROM (SELECT ${own}, count(*) AS n FROM ${quoted(mainTable(kind))} c WHERE ${children} GROUP BY ${own}) AS counted
         WHERE ${pairs.join(" AND ")} AND ${rows} ${more}`,
      )
      .run().changes;
  const parents = writers.get(parent.path);
  const brought = parents === undefined ? "0" : writtenRows(parents, "p");
  const child = writers.get(kind.path);
  // The run has no children at all: a parent that it brings counts at least those that the target has.
  if (child === undefined)
    return parents === undefined ? 0 : raise(brought, "1", "counted.n", `AND p.${name} < counted.n`);
  const sum = `min(p.${name} + counted.n, 2147483647)`;
  const lacking = `NOT ${child.newRows("c")} AND c.${child.rowid} NOT IN (SELECT r FROM ${child.met})`;
  return raise(brought, lacking, sum) + raise(`NOT ${brought}`, arriving(kind, key, child), sum);
}

/** Children that refer to the parent now and did not before the run. */
function arriving(kind: RecordKind, key: ForeignKey, child: TableWriter): string {
  const added = child.newRows("c");
  const { keptTable } = child.stored;
  if (keptTable === undefined) return added;
  const same = key.fields.map((field) => `k.${column(kind, field)} IS c.${column(kind, field)}`).join(" AND ");
  return `(${added} OR EXISTS (SELECT 1 FROM ${keptTable} k WHERE k.llmspell_rowid = c.${child.rowid} AND NOT (${same})))`;
}
