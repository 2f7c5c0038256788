/**
 * Counters that parents keep of their children (ForeignKey.counter): a record brings its own as it was exported. Where
 * the target has children of its own, or keeps its own parent, the counter has to be raised.
 */
import type { ForeignKey, RecordKind } from "../../../catalog/index.js";
import { columnNamed, type TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";
import type { ConflictPolicy } from "./conflicts.js";

/** How the records of a kind came. */
export interface LoadedKind {
  readonly table: TargetTable;
  /** Undefined: straight into the table, which was empty. */
  readonly staging: string | undefined;
  /** With `staging`: the table of matches. */
  readonly matches: string | undefined;
  /** What the names of temporary tables begin with. Default: `staging`. */
  readonly temporary?: string;
}

/** What is known of one foreign key before the children are merged. */
interface Tally {
  readonly key: ForeignKey;
  readonly parent: TargetTable;
  /** Temporary table (the key's columns, n): the target's children that the run lacks, of parents that the run brings. */
  own?: string;
  /** Temporary table (ordinal): records that will refer to the parent and did not before. */
  arriving?: string;
}

interface CountedKey {
  readonly key: ForeignKey & { readonly counter: string };
  readonly parent: TargetTable;
}

export class Counters {
  private readonly tallies: Tally[] = [];

  constructor(
    private readonly connection: PostgresConnection,
    private readonly tables: ReadonlyMap<string, TargetTable>,
    /** The kinds that had records in this run. */
    private readonly loaded: ReadonlyMap<string, LoadedKind>,
    private readonly policy: ConflictPolicy,
    /** Told of rows `p` of the table, before they are changed. `from`: everything of a query after its select list. */
    private readonly beforeChange: (parent: TargetTable, from: string) => Promise<void> = async () => {},
  ) {}

  /** Counts before the staged children are merged: afterwards nobody could tell whose they are. */
  async tally(child: LoadedKind): Promise<void> {
    const { kind } = child.table;
    if (child.staging === undefined || child.matches === undefined) return;
    for (const { key, parent } of this.countedKeys(kind)) {
      const slot = `${child.temporary ?? child.staging}_${kind.foreignKeys.indexOf(key)}`;
      const tally: Tally = { key, parent };
      const columns = key.fields.map((name) => columnNamed(kind, name));
      if (this.policy === "update" && this.loaded.get(key.references)?.staging !== undefined) {
        tally.own = `${slot}_own`;
        await this.connection.query(
          `CREATE TEMPORARY TABLE ${temporary(tally.own)} ON COMMIT DROP AS
           SELECT ${columns.map((column) => `t.${column}`).join(", ")}, count(*) AS n FROM ${child.table.name} t
           WHERE NOT EXISTS (SELECT FROM ${child.matches} m WHERE m.tab = t.tableoid AND m.tid = t.ctid)
           GROUP BY ${columns.map((column) => `t.${column}`).join(", ")}`,
        );
      }
      tally.arriving = `${slot}_arriving`;
      const moved =
        this.policy === "update"
          ? `OR (${columns.map((column) => `t.${column}`).join(", ")}) IS DISTINCT FROM (${columns.map((column) => `s.${column}`).join(", ")})`
          : "";
      await this.connection.query(
        `CREATE TEMPORARY TABLE ${temporary(tally.arriving)} ON COMMIT DROP AS
         SELECT s.ordinal FROM ${child.staging} s LEFT JOIN ${child.matches} m USING (ordinal)
           LEFT JOIN ${child.table.name} t ON t.tableoid = m.tab AND t.ctid = m.tid
         WHERE m.ordinal IS NULL ${moved}`,
      );
      this.tallies.push(tally);
    }
  }

  /** Raises the counters when all is merged. Gives a line for each field that was raised. */
  async raise(kinds: readonly RecordKind[]): Promise<string[]> {
    const notes: string[] = [];
    for (const kind of kinds)
      for (const counted of this.countedKeys(kind)) {
        const raised = await this.raiseOne(kind, counted);
        if (raised > 0)
          notes.push(
            `${counted.key.counter} of ${raised} ${counted.parent.kind.noun}${raised === 1 ? "" : "s"} was raised: ` +
              `source and target both have ${kind.noun}s of it`,
          );
      }
    return notes;
  }

  /**
   * Lowers the counters by children that were removed: of parents that the run brought, by those that `raise` has added.
   * @param removed temporary table of their columns that refer to parents
   */
  async lower(kind: RecordKind, removed: string): Promise<void> {
    for (const counted of this.countedKeys(kind)) {
      const tally = this.tallies.find(({ key }) => key === counted.key);
      const counter = columnNamed(counted.parent.kind, counted.key.counter);
      const { fields } = counted.parent.kind;
      const least = fields.find(({ name }) => name === counted.key.counter)?.min ?? 0;
      const columns = this.childColumns(kind, counted);
      await this.connection.query(
        `UPDATE ${counted.parent.name} p SET ${counter} = GREATEST(p.${counter} - c.n, ${least})
         FROM (SELECT ${columns}, count(*) AS n FROM ${removed} s GROUP BY ${columns}) c
         WHERE ${this.sameKey(kind, counted, "c")} ${tally?.own === undefined ? `AND NOT (${this.isBrought(counted)})` : ""}`,
      );
    }
  }

  private async raiseOne(kind: RecordKind, counted: CountedKey): Promise<number> {
    const child = this.loaded.get(kind.path);
    if (child === undefined) return this.raiseToActual(kind, counted);
    const tally = this.tallies.find(({ key }) => key === counted.key);
    let raised = 0;
    if (tally?.own !== undefined)
      raised += await this.add(kind, counted, `SELECT * FROM ${tally.own}`, this.isBrought(counted));
    const columns = counted.key.fields.map((name) => `s.${columnNamed(kind, name)}`).join(", ");
    const arriving =
      child.staging === undefined
        ? `${child.table.name} s`
        : `${child.staging} s JOIN ${tally?.arriving} USING (ordinal)`;
    const sums = `SELECT ${columns}, count(*) AS n FROM ${arriving} GROUP BY ${columns}`;
    return raised + (await this.add(kind, counted, sums, `NOT (${this.isBrought(counted)})`));
  }

  /** The run has no children at all: a parent that it brings counts at least those that the target has. */
  private async raiseToActual(kind: RecordKind, counted: CountedKey): Promise<number> {
    if (this.policy !== "update" || this.loaded.get(counted.key.references)?.staging === undefined) return 0;
    const child = this.tables.get(kind.path) as TargetTable;
    const counter = columnNamed(counted.parent.kind, counted.key.counter);
    const sums = `(SELECT ${this.childColumns(kind, counted)}, count(*) AS n FROM ${child.name} s
             GROUP BY ${this.childColumns(kind, counted)}) c`;
    const where = `${this.sameKey(kind, counted, "c")} AND p.${counter} < c.n AND ${this.isBrought(counted)}`;
    await this.beforeChange(counted.parent, `FROM ${counted.parent.name} p, ${sums} WHERE ${where}`);
    const { rowCount } = await this.connection.query(
      `UPDATE ${counted.parent.name} p SET ${counter} = c.n FROM ${sums} WHERE ${where}`,
    );
    return rowCount ?? 0;
  }

  private async add(kind: RecordKind, counted: CountedKey, sums: string, condition: string): Promise<number> {
    const counter = columnNamed(counted.parent.kind, counted.key.counter);
    const where = `${this.sameKey(kind, counted, "c")} AND ${condition}`;
    await this.beforeChange(counted.parent, `FROM ${counted.parent.name} p, (${sums}) c WHERE ${where}`);
    const { rowCount } = await this.connection.query(
      `UPDATE ${counted.parent.name} p SET ${counter} = LEAST(p.${counter} + c.n, 2147483647) FROM (${sums}) c WHERE ${where}`,
    );
    return rowCount ?? 0;
  }

  /** The condition that the run brought the parent `p`, and did not leave the target's own. */
  private isBrought({ key, parent }: CountedKey): string {
    const loaded = this.loaded.get(key.references);
    if (loaded === undefined) return "false";
    if (loaded.staging === undefined) return "true";
    const same = parent.kind.key
      .map((name) => columnNamed(parent.kind, name))
      .map((column) => `b.${column} = p.${column}`);
    const left =
      this.policy === "skip" ? `AND NOT EXISTS (SELECT FROM ${loaded.matches} m WHERE m.ordinal = b.ordinal)` : "";
    return `EXISTS (SELECT FROM ${loaded.staging} b WHERE ${same.join(" AND ")} ${left})`;
  }

  private childColumns(kind: RecordKind, { key }: CountedKey): string {
    return key.fields.map((name) => `s.${columnNamed(kind, name)}`).join(", ");
  }

  private sameKey(kind: RecordKind, { key, parent }: CountedKey, sums: string): string {
    return key.referencedFields
      .map((name, at) => `p.${columnNamed(parent.kind, name)} = ${sums}.${columnNamed(kind, key.fields[at] as string)}`)
      .join(" AND ");
  }

  private countedKeys(kind: RecordKind): CountedKey[] {
    return kind.foreignKeys.flatMap((key) =>
      key.counter === undefined
        ? []
        : [{ key: key as CountedKey["key"], parent: this.tables.get(key.references) as TargetTable }],
    );
  }
}

function temporary(qualified: string): string {
  return qualified.replace("pg_temp.", "");
}
