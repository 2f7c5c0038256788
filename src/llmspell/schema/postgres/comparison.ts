/** A PostgreSQL database's schema beside what the migrations make (objects.json). */
import { readFileSync } from "node:fs";
import type { PostgresConnection } from "../../../backends/postgres/session/connection.js";
import { compareSchema, objectParts, type SchemaComparison, type SchemaObjects } from "../comparison.js";
import { readSchemaObjects } from "./schema-objects.js";

let objects: SchemaObjects | undefined;

/** By migration; a test keeps the file in step with the migrations. */
export function postgresObjects(): SchemaObjects {
  objects ??= JSON.parse(readFileSync(new URL("./objects.json", import.meta.url), "utf8")) as SchemaObjects;
  return objects;
}

/** Migrations make tables whole, or not at all. */
function repairOf(object: string, definition: string): string | undefined {
  const { kind, table, name } = objectParts(object);
  if (kind === "column") return `ALTER TABLE llmspell.${table} ADD COLUMN ${name} ${definition}`;
  if (kind === "constraint") return `ALTER TABLE llmspell.${table} ADD CONSTRAINT ${name} ${definition}`;
  return undefined;
}

/** Before PostgreSQL 15 the views are not made. */
const FIRST_WITH_VIEWS = 150000;

/** @param recorded the versions that llmspell's own record has */
export async function comparePostgres(
  connection: PostgresConnection,
  recorded: ReadonlySet<number>,
): Promise<SchemaComparison> {
  const found = new Map((await readSchemaObjects(connection)).map((row) => [row.object, row]));
  const { rows } = await connection.query<{ version: number }>(
    "SELECT pg_catalog.current_setting('server_version_num')::int4 AS version",
  );
  const hasViews = (rows[0]?.version ?? 0) >= FIRST_WITH_VIEWS;
  const expected = Object.fromEntries(
    Object.entries(postgresObjects()).map(([migration, each]) => [
      migration,
      Object.fromEntries(Object.entries(each).filter(([object]) => hasViews || !object.startsWith("view "))),
    ]),
  );
  return compareSchema({ expected, found, recorded, repairOf });
}
