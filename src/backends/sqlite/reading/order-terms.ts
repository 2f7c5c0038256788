/** The order of a kind's key, as SQL over its main table. */
import { columnOf, exactColumnOf, type Field, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { deriveUuid, formatUuid, uuidDigits, withLeadingId } from "../../../codecs/uuid.js";
import type { IdOrder } from "../../../records/ids/derived-uuids.js";
import type { Database } from "../open.js";
import { columnsOf, exactTimeSql, mainTable, quoted, secondsOfSql, usualSpellingSql, uuidDigitsSql } from "../table.js";

/**
 * SQL functions of ours, before the first query: `llmspell_utf8`; `llmspell_uuid`, a UUID's digits, of free text those of the
 * UUID that is derived from it; `llmspell_follow`, a text whose leading id became a UUID (Field.beginsWith).
 */
export function defineFunctions(database: Database): void {
  const options = { deterministic: true };
  database.function("llmspell_utf8", options, (text: unknown) =>
    typeof text === "string" ? Buffer.from(text, "utf8") : text,
  );
  database.function("llmspell_uuid", options, (text: unknown) => {
    if (typeof text !== "string") return text;
    return toDigits(text);
  });
  database.function("llmspell_follow", options, (text: unknown) =>
    typeof text === "string"
      ? (withLeadingId(text, (id) => formatUuid(Buffer.from(toDigits(id), "hex"), 0)) ?? text)
      : text,
  );
}

function toDigits(text: string): string {
  return uuidDigits(text)?.toLowerCase() ?? deriveUuid(text).toString("hex");
}

/**
 * Sort terms over the main table whose order is the canonical one: plain columns, so that an index can serve, where all
 * values are spelled alike, expressions otherwise.
 */
export function orderTerms(database: Database, kind: RecordKind, idOrder: IdOrder): string[] {
  const table = mainTable(kind);
  const present = columnsOf(database, table) ?? new Set();
  const [encoding] = database.prepare("PRAGMA encoding").raw().get() as [string];
  return kind.key.flatMap((name) => {
    const field = kind.fields[fieldIndex(kind, name)] as Field;
    const column = quoted(columnOf(field));
    const text = (expression: string): string => (encoding === "UTF-8" ? expression : `llmspell_utf8(${expression})`);
    const { sqlite } = codecOf(field);
    if (sqlite === "id") {
      if (idOrder === "derived") return [`llmspell_uuid(${column})`];
      if (idOrder === "text" && field.chosen) return [text(column)];
      // Lengths are asked in bytes.
      if (encoding === "UTF-8" && isUniformlySpelled(database, table, column)) return [column];
      return [idOrder === "uuid" ? uuidDigitsSql(column) : text(usualSpellingSql(column))];
    }
    if (sqlite === "time") {
      const exact = present.has(exactColumnOf(field)) ? quoted(exactColumnOf(field)) : undefined;
      return timeTerms(database, table, column, exact);
    }
    const follows = idOrder === "derived" && field.beginsWith !== undefined;
    return [sqlite === "text" ? text(follows ? `llmspell_follow(${column})` : column) : column];
  });
}

/** All lower case and of one length, without free text among bare digits: then the texts sort as the UUIDs do. */
function isUniformlySpelled(database: Database, table: string, column: string): boolean {
  const ask = (select: string): (number | null)[] =>
    database
      .prepare(`SELECT ${select} FROM ${quoted(table)}`)
      .raw()
      .get() as (number | null)[];
  // The length in bytes stands in a row's header.
  const [shortest, longest] = ask(`min(octet_length(${column})), max(octet_length(${column}))`);
  if (shortest !== longest) return false;
  // Each of these is a walk through all values: only where the one before has not said no.
  if (shortest === 32 && ask(`max(length(unhex(${column})) IS NOT 16)`)[0] === 1) return false;
  return ask(`max(${column} <> lower(${column}) COLLATE BINARY)`)[0] !== 1;
}

/** Of these seconds on, and as many before 1970, a time is SQLite's infinity, or beyond it. */
const ENDLESS = 9999999999;

/** Seconds and companion sort as the exact times do when the companions are all there and agree, or none is there. */
function timeTerms(database: Database, table: string, column: string, exact: string | undefined): string[] {
  const isAny = (condition: string): boolean =>
    database
      .prepare(`SELECT 1 FROM ${quoted(table)} WHERE ${condition} LIMIT 1`)
      .raw()
      .get() !== undefined;
  const isBeyond = `${column} NOT BETWEEN -${ENDLESS} AND ${ENDLESS}`;
  if (exact !== undefined) {
    // One condition that fails at once for rows that are as usual: the walk is over the whole table.
    const differs = `(${exact} - (${column} - 946684800) * 1000000 BETWEEN 0 AND 999999) IS NOT 1 AND (${secondsOfSql(exact)} = ${column}) IS NOT 1`;
    if (!isAny(`${differs} OR ${isBeyond}`)) return [column, exact];
    if (isAny(`${exact} IS NOT NULL`)) return [exactTimeSql(column, exact)];
  }
  return isAny(isBeyond) ? [exactTimeSql(column, exact)] : [column];
}
