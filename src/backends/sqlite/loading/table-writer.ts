/**
 * Writing one kind's records: straight into an empty table, otherwise by the rules of ARCHITECTURE.md, "Conflicts".
 * Over 300 lines: inserting, replacing and undoing a row share its place, its keys and their counts.
 */

import type { Statement } from "better-sqlite3";
import { columnOf, type ForeignKey, type RecordKind, tenantFieldOf, tenantIndex } from "../../../catalog/index.js";
import { located } from "../../../codecs/index.js";
import { recordChunks } from "../../../document/writing/record-writer.js";
import { StorageError } from "../../../errors.js";
import { createConstraintCheck } from "../../../records/constraints.js";
import type { RecordBatch } from "../../../records/record-batch.js";
import { keylessConflict, recordKey } from "../../../records/record-key.js";
import { hasRowidField, kindCondition, mainTable, quoted, rowidOf } from "../table.js";
import { blockOf, greatestRowid } from "../vectors/vector-rowids.js";
import { foreignKeysOf } from "./foreign-keys.js";
import { canonicalKey, createKeyLookup, type KeyLookup, keySets, spelledFields } from "./key-lookup.js";
import { type Load, requireFreeRowids } from "./load-session.js";
import { ALL_ROWS, listedRows, type OwnRows, rowsBehind } from "./own-rows.js";
import { hasDeepJson, isRecordError, toRecordError } from "./record-errors.js";
import { clearLarge, createRowStore, type RowStore, stageLarge, withStagedContent } from "./row-store.js";
import { referenceSpellings } from "./spellings.js";
import { createStoredRecords, type StoredRecords } from "./stored-records.js";

/** How a record met what is there. */
interface Meeting {
  /** Rows from before the run that have one of the record's keys, with how many of them. */
  readonly rows: ReadonlyMap<bigint, number>;
  /** The key of the earlier record of the run that has one of the record's keys, or the same row. */
  readonly earlier: string | undefined;
}

interface Savepoint {
  readonly begin: Statement;
  readonly release: Statement;
  readonly rollback: Statement;
}

interface HiddenKeys {
  /** `rowid`: the row that had the key before the run; null for the key of a record that was skipped. */
  insert(set: number, key: Buffer, rowid: bigint | null, record: string): void;
  find(set: number, key: Buffer): { readonly rowid: bigint | null; readonly record: string } | undefined;
  /** Whether the row had another key before the run. */
  has(set: number, rowid: bigint): boolean;
}

export class TableWriter {
  readonly kind: RecordKind;
  readonly table: string;
  /** What the table's rowid is called. */
  readonly rowid: string;
  /** What its records must have the parents of when all are there. */
  readonly foreignKeys: readonly ForeignKey[];
  readonly stored: StoredRecords;
  readonly counts = { inserted: 0, updated: 0, skipped: 0, dropped: 0 };
  /** Of those updated: rows that had the record's values already. */
  unchanged = 0;
  /** Temporary table (r, written, key, same): rows from before the run that a record of the run met. */
  readonly met: string;
  /** UUID fields in which the table holds other spellings than the canonical one. */
  readonly spelled: ReadonlySet<number>;
  private readonly ownRows: OwnRows;
  private readonly load: Load;
  private readonly empty: boolean;
  private readonly lookup: KeyLookup;
  private readonly store: RowStore;
  private readonly check: (batch: RecordBatch, row: number) => void;
  private readonly sets: readonly (readonly number[])[];
  private readonly tenantField: number;
  /** An update may give the row another rowid. */
  private readonly hasRowidField: boolean;
  private readonly isMet: Statement;
  private readonly markMet: Statement;
  private readonly wasSame: Statement;
  private readonly markUndone: Statement;
  private readonly tenantOf: Statement;
  private readonly group: Savepoint;
  /** Around one record, where that takes several statements. */
  private readonly savepoint: Savepoint | undefined;
  /** Keys that the table no longer shows: of rows before their update, and of records that were skipped. */
  private readonly hiddenKeys: HiddenKeys;
  private hasHiddenKeys = false;

  constructor(load: Load, kind: RecordKind) {
    this.load = load;
    this.kind = kind;
    this.table = mainTable(kind);
    this.foreignKeys = foreignKeysOf(load, kind);
    const { database } = load;
    this.rowid = rowidOf(database, this.table);
    const condition = kindCondition(kind);
    const where = condition === undefined ? "" : `WHERE ${condition}`;
    const rows = database.prepare(`SELECT 1 FROM ${quoted(this.table)} ${where} LIMIT 1`);
    this.empty = rows.get() === undefined;
    if (kind.keyless && !this.empty) throw keylessConflict(kind);
    const last = greatestRowid(database, this.table);
    const { sqlite } = kind;
    const block = sqlite.layout === "vector" ? blockOf(sqlite.dimension) : undefined;
    this.hasRowidField = hasRowidField(database, kind);
    if (this.hasRowidField) this.ownRows = this.empty ? ALL_ROWS : listedRows(load);
    else if (block === undefined) {
      requireFreeRowids(this.table, last ?? 0n);
      this.ownRows = rowsBehind(last ?? 0n);
    } else this.ownRows = rowsBehind(greatestRowid(database, this.table, block) ?? block.first - 1n, block.last);
    if (last === undefined) load.deferIndexes(kind);
    this.spelled = this.empty ? new Set() : spelledFields(database, kind);
    const references = referenceSpellings(load, kind);
    const keepSpelling = new Set([...this.spelled].filter((field) => !references.has(field)));
    if (references.size > 0)
      for (const [index, { beginsWith }] of kind.fields.entries())
        if (beginsWith !== undefined) keepSpelling.add(index);
    this.lookup = createKeyLookup(
      database,
      kind,
      { spelled: this.spelled, empty: this.empty, isOld: (rowid) => !this.isNew(rowid) },
      (expressions, unique) => load.createIndex(this.table, expressions, unique),
    );
    this.store = createRowStore(load, kind, references, keepSpelling);
    this.stored = createStoredRecords(load, kind);
    this.check = createConstraintCheck(kind);
    this.sets = keySets(kind);
    this.tenantField = tenantIndex(kind);
    const tenant = tenantFieldOf(kind);
    this.met = `temp.${load.name("met")}`;
    database.exec(`CREATE TABLE ${this.met} (r INTEGER PRIMARY KEY, written INTEGER, key TEXT, same INTEGER)`);
    this.isMet = database.prepare(`SELECT written, key FROM ${this.met} WHERE r = ?`).raw();
    this.markMet = database.prepare(`INSERT INTO ${this.met} VALUES (?, ?, ?, ?)`);
    this.wasSame = database.prepare(`SELECT same FROM ${this.met} WHERE r = ?`).pluck();
    this.markUndone = database.prepare(`UPDATE ${this.met} SET written = 0 WHERE r = ?`);
    this.tenantOf = database
      .prepare(
        `SELECT ${tenant === undefined ? "NULL" : quoted(columnOf(tenant))} FROM ${quoted(this.table)} WHERE ${this.rowid} = ?`,
      )
      .pluck();
    this.group = {
      begin: database.prepare("SAVEPOINT llmspell_load"),
      release: database.prepare("RELEASE llmspell_load"),
      rollback: database.prepare("ROLLBACK TO llmspell_load"),
    };
    const severalStatements = kind.sqlite.layout === "vector" || kind.fields.some(({ large }) => large);
    this.savepoint = severalStatements ? this.group : undefined;
    this.hiddenKeys = this.createHiddenKeys();
  }

  private createHiddenKeys(): HiddenKeys {
    const { database } = this.load;
    const name = `temp.${this.load.name("keys")}`;
    database.exec(`CREATE TABLE ${name} (s INTEGER, k BLOB, r INTEGER, record TEXT, PRIMARY KEY (s, k)) WITHOUT ROWID`);
    database.exec(`CREATE INDEX ${name}_rows ON ${name.slice(5)}(s, r)`);
    const has = database.prepare(`SELECT 1 FROM ${name} WHERE s = ? AND r = ?`);
    const insert = database.prepare(`INSERT OR IGNORE INTO ${name} VALUES (?, ?, ?, ?)`);
    const find = database.prepare(`SELECT r, record FROM ${name} WHERE s = ? AND k = ?`).raw().safeIntegers();
    return {
      insert: (set, key, rowid, record) => {
        this.hasHiddenKeys = true;
        insert.run(set, key, rowid, record);
      },
      find: (set, key) => {
        const row = find.get(set, key) as [bigint | null, string] | undefined;
        return row === undefined ? undefined : { rowid: row[0], record: row[1] };
      },
      has: (set, rowid) => has.get(set, rowid) !== undefined,
    };
  }

  /** Whether the run inserted the row. */
  private isNew(rowid: bigint): boolean {
    return this.ownRows.has(rowid);
  }

  /** The SQL condition that picks the rows that the run inserted. */
  newRows(alias: string): string {
    return this.ownRows.condition(`${alias}.${this.rowid}`);
  }

  async write(batch: RecordBatch): Promise<void> {
    const good: number[] = [];
    for (let row = 0; row < batch.rows; row++) {
      try {
        this.check(batch, row);
        good.push(row);
      } catch (error) {
        await this.reject(batch, row, error);
      }
    }
    const extracts = this.load.deferredIndexes(this.kind)?.extractsJson === true;
    // While the indexes are there, SQLite names the record that they do not take.
    if (extracts && good.some((row) => hasDeepJson(batch, row))) await this.load.makeIndexes(this.table);
    const direct = this.empty && batch.large === undefined;
    const { rowsPerInsert } = this.store;
    for (let from = 0; from < good.length; from += rowsPerInsert) {
      const rows = good.slice(from, from + rowsPerInsert);
      if (direct && this.insertMany(batch, rows)) continue;
      for (const row of rows) await this.writeOne(batch, row);
    }
  }

  /** False, and nothing written, when one of the records is not taken. */
  private insertMany(batch: RecordBatch, rows: readonly number[]): boolean {
    const { database, unreadableEmbeddings } = this.load;
    this.group.begin.run();
    try {
      this.store.insertMany(batch, rows);
      this.group.release.run();
      this.counts.inserted += rows.length;
      return true;
    } catch (error) {
      if (!database.inTransaction || !isRecordError(error)) throw error;
      this.group.rollback.run();
      this.group.release.run();
      this.load.unreadableEmbeddings = unreadableEmbeddings;
      return false;
    }
  }

  private async writeOne(batch: RecordBatch, row: number): Promise<void> {
    const meeting = this.meet(batch, row);
    const refusal = this.refusal(batch, row, meeting);
    if (refusal !== undefined) return this.reject(batch, row, refusal);
    const [match] = meeting.rows;
    const rowid = match?.[0];
    if (rowid !== undefined && this.load.options.onConflict === "skip") {
      this.skip(batch, row, rowid);
      await batch.large?.discard();
      return;
    }
    const { large } = batch;
    if (large !== undefined) await stageLarge(this.load, large);
    const { database, unreadableEmbeddings } = this.load;
    this.savepoint?.begin.run();
    try {
      if (match === undefined) {
        this.ownRows.add(this.store.insert(batch, row, large !== undefined));
        this.counts.inserted++;
      } else {
        this.replace(batch, row, match[0], match[1] === this.sets.length);
        this.counts.updated++;
      }
      this.savepoint?.release.run();
    } catch (error) {
      if (!database.inTransaction || !isRecordError(error)) throw error;
      this.savepoint?.rollback.run();
      this.savepoint?.release.run();
      this.load.unreadableEmbeddings = unreadableEmbeddings;
      const record = large === undefined ? batch : withStagedContent(this.load, batch, large);
      await this.reject(record, row, toRecordError(error, batch, row));
    }
    if (large !== undefined) clearLarge(this.load);
  }

  /** Update in place; the earlier row is kept where the record may yet turn out an orphan. */
  private replace(batch: RecordBatch, row: number, rowid: bigint, sameKeys: boolean): void {
    const before = sameKeys ? undefined : this.stored.read(rowid);
    if (this.foreignKeys.length > 0) this.stored.keep(rowid);
    const same = batch.large === undefined && this.store.holds(rowid, batch, row);
    if (same) this.unchanged++;
    else this.store.update(rowid, batch, row, batch.large !== undefined);
    const current = this.hasRowidField ? this.rowidOf(batch, row) : rowid;
    if (current !== rowid) this.stored.moved(rowid, current);
    this.markMet.run(current, 1, null, same ? 1 : 0);
    if (before === undefined) return;
    for (const [set, fields] of this.sets.entries()) {
      const old = canonicalKey(before, 0, fields);
      const now = canonicalKey(batch, row, fields);
      if (old !== undefined && (now === undefined || !old.equals(now)))
        this.hiddenKeys.insert(set, old, current, recordKey(batch, row));
    }
  }

  /** The rowid that is a field of the record. */
  private rowidOf(batch: RecordBatch, row: number): bigint {
    const [rowid] = this.lookup.find(0, batch, row);
    return rowid as bigint;
  }

  private skip(batch: RecordBatch, row: number, rowid: bigint): void {
    this.counts.skipped++;
    const key = recordKey(batch, row);
    this.markMet.run(rowid, 0, key, 0);
    if (this.sets.length === 1) return;
    for (const [set, fields] of this.sets.entries()) {
      const incoming = canonicalKey(batch, row, fields);
      if (incoming !== undefined && !this.lookup.find(set, batch, row).includes(rowid))
        this.hiddenKeys.insert(set, incoming, null, key);
    }
  }

  private meet(batch: RecordBatch, row: number): Meeting {
    const rows = new Map<bigint, number>();
    const add = (rowid: bigint): void => void rows.set(rowid, (rows.get(rowid) ?? 0) + 1);
    let earlier: string | undefined;
    for (const [set, fields] of this.sets.entries()) {
      for (const rowid of this.lookup.find(set, batch, row)) {
        if (this.empty || this.isNew(rowid)) {
          earlier ??= this.stored.keyOf(rowid);
          continue;
        }
        const met = this.isMet.get(rowid) as [number, string | null] | undefined;
        if (met === undefined) {
          add(rowid);
          continue;
        }
        earlier ??= met[1] ?? this.stored.keyOf(rowid);
        // An updated row shows its new keys; the one it had before is hidden, unless it is the same.
        if (met[0] === 0 || !this.hasHiddenKeys || !this.hiddenKeys.has(set, rowid)) add(rowid);
      }
      if (!this.hasHiddenKeys) continue;
      const key = canonicalKey(batch, row, fields);
      const hidden = key === undefined ? undefined : this.hiddenKeys.find(set, key);
      if (hidden === undefined) continue;
      earlier ??= hidden.record;
      if (hidden.rowid !== null) add(hidden.rowid);
    }
    return { rows, earlier };
  }

  /** Takes a record back: the row is gone, or what it was before the run. */
  undo(rowid: bigint, as: "dropped" | "rejected"): void {
    if (this.isNew(rowid)) {
      this.store.delete(rowid);
      this.counts.inserted--;
    } else {
      this.stored.restore(rowid);
      this.markUndone.run(rowid);
      this.counts.updated--;
      if (this.wasSame.get(rowid) === 1) this.unchanged--;
    }
    if (as === "dropped") this.counts.dropped++;
  }

  /** Rules 3, 4 and 5 ("error") first: a record that they refuse takes no part in rule 1. */
  private refusal(batch: RecordBatch, row: number, { rows, earlier }: Meeting): StorageError | undefined {
    const [rowid] = rows.keys();
    if (rows.size > 1)
      return new StorageError("E_KEY_CONFLICT", `the record matches ${rows.size} rows of the target`, {
        detail: `the rows are ${[...rows.keys()]
          .map((each) => this.stored.keyOf(each))
          .sort()
          .join(" and ")}`,
      });
    if (rowid !== undefined && this.tenantField >= 0 && !this.sameTenant(batch, row, rowid))
      return new StorageError("E_TENANT_CONFLICT", "the target has the record under another tenant");
    if (rowid !== undefined && this.load.options.onConflict === "error")
      return new StorageError("E_CONFLICT", "the target already has the record", {
        hint: "--on-conflict update replaces it, --on-conflict skip leaves it.",
      });
    if (earlier === undefined) return undefined;
    return new StorageError("E_KEY_CONFLICT", "two records of the run meet on one unique key", {
      detail: `the other record is ${earlier}`,
    });
  }

  private sameTenant(batch: RecordBatch, row: number, rowid: bigint): boolean {
    return this.tenantOf.get(rowid) === batch.value(row, this.tenantField).toString("utf8");
  }

  /** Rejects a record of the batch; a content that nobody read is discarded. */
  private async reject(batch: RecordBatch, row: number, error: unknown): Promise<void> {
    const context = { section: this.kind.path, key: recordKey(batch, row) };
    const coded = located(error, context);
    if (!(coded instanceof StorageError)) throw error;
    await this.load.context.reject({ kind: this.kind, error: coded, record: recordChunks(batch, row) });
    await batch.large?.discard();
  }
}
