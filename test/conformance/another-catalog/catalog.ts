/** A catalog that has nothing of llmspell's: another schema, names with dots, no tenants, cycles, no keys, many columns. */
import { createCatalog, type Field, type RecordKind } from "../../../src/catalog/index.js";

const shop = { label: "Shop", since: "V1", uniqueKeys: [], foreignKeys: [], tenantField: null } as const;
const SCHEMA = 'my."shop".v1';

const countries: RecordKind = {
  ...shop,
  path: "my.shop.countries",
  location: ["my.shop", "countries"],
  noun: "country",
  fields: [
    { name: "code", type: "text", maxLength: 10 },
    { name: "tenant_id", type: "int4", nullable: true },
    { name: "name", type: "text" },
  ],
  key: ["code"],
  postgres: { schema: SCHEMA, table: "countries" },
  sqlite: { layout: "table", table: "countries" },
};

/** Its records refer to employees, which refer to departments, and to each other. */
const departments: RecordKind = {
  ...shop,
  path: "departments",
  noun: "department",
  fields: [
    { name: "id", type: "int8" },
    { name: "head", type: "int8", nullable: true },
  ],
  key: ["id"],
  foreignKeys: [{ fields: ["head"], references: "employees", referencedFields: ["id"] }],
  postgres: { schema: SCHEMA, table: "departments" },
  sqlite: { layout: "table", table: "departments" },
};

const employees: RecordKind = {
  ...shop,
  path: "employees",
  noun: "employee",
  fields: [
    { name: "id", type: "int8" },
    { name: "department", type: "int8" },
    { name: "boss", type: "int8", nullable: true },
    { name: "country", type: "text", nullable: true },
  ],
  key: ["id"],
  foreignKeys: [
    { fields: ["department"], references: "departments", referencedFields: ["id"] },
    { fields: ["boss"], references: "employees", referencedFields: ["id"] },
    { fields: ["country"], references: "my.shop.countries", referencedFields: ["code"] },
  ],
  postgres: { schema: SCHEMA, table: "employees" },
  sqlite: { layout: "table", table: "employees" },
};

const orderItems: RecordKind = {
  ...shop,
  path: "my.shop.order.items",
  location: ["my.shop", "order.items"],
  noun: "item",
  fields: [
    { name: "order.no", type: "int8" },
    { name: 'line "no"', type: "int4" },
    { name: "unit.price", type: "text", column: "Unit Price" },
    { name: "details", type: "json", nullable: true },
  ],
  key: ["order.no", 'line "no"'],
  postgres: { schema: SCHEMA, table: 'order."items"' },
  sqlite: { layout: "table", table: 'order."items"' },
};

/** The same table's name in another schema. */
const accounts: RecordKind = {
  ...shop,
  path: "accounts.v2",
  location: ["accounts.v2"],
  noun: "account",
  tenantField: "owner",
  fields: [
    { name: "owner", type: "text", column: "Owner's" },
    { name: "number", type: "uuid" },
    { name: "opened", type: "timestamp" },
    { name: "tags", type: "text_array", nullable: true },
  ],
  key: ["owner", "number"],
  postgres: { schema: "public", table: "countries" },
  sqlite: { layout: "table", table: "accounts" },
};

const measurements: RecordKind = {
  ...shop,
  path: "measurements",
  noun: "measurement",
  keyless: true,
  fields: [
    { name: "station", type: "text", nullable: true },
    { name: "value", type: "int8", nullable: true },
    { name: "raw", type: "bytes", nullable: true },
  ],
  key: [],
  postgres: { schema: SCHEMA, table: "measurements" },
  sqlite: { layout: "table", table: "measurements" },
};

export const WIDTH = 600;
const wide: RecordKind = {
  ...shop,
  path: "wide",
  noun: "row",
  fields: Array.from({ length: WIDTH }, (_, i): Field => ({ name: `c${i}`, type: "int4" })),
  key: ["c0"],
  postgres: { schema: SCHEMA, table: "wide" },
  sqlite: { layout: "table", table: "wide" },
};

export const another = createCatalog([countries, departments, employees, accounts, measurements, orderItems, wide]);

/** The same, with countries in a table WITHOUT ROWID. */
export const withoutRowids = createCatalog(
  another.kinds.map((kind) =>
    kind.path === countries.path
      ? { ...kind, sqlite: { layout: "table", table: "countries", withoutRowid: true } as const }
      : kind,
  ),
);

const sqlTypes = {
  postgres: {
    text: "text",
    uuid: "uuid",
    int4: "int4",
    int8: "int8",
    bool: "bool",
    timestamp: "timestamptz",
    json: "jsonb",
    bytes: "bytea",
    vector: "vector",
    text_array: "text[]",
  },
  sqlite: {
    text: "TEXT",
    uuid: "TEXT",
    int4: "INTEGER",
    int8: "INTEGER",
    bool: "INTEGER",
    timestamp: "INTEGER",
    json: "TEXT",
    bytes: "BLOB",
    vector: "BLOB",
    text_array: "TEXT",
  },
} as const;

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const columnOf = ({ column, name }: Field): string => quote(column ?? name);

function tableSql(kind: RecordKind, backend: "postgres" | "sqlite"): { name: string; columns: string } {
  const name =
    backend === "postgres"
      ? `${quote(kind.postgres.schema as string)}.${quote(kind.postgres.table)}`
      : quote(kind.sqlite.layout === "table" ? kind.sqlite.table : "");
  const columns = kind.fields.flatMap((field) => [
    `${columnOf(field)} ${sqlTypes[backend][field.type]}${field.nullable ? "" : " NOT NULL"}`,
    ...(backend === "sqlite" && field.type === "timestamp"
      ? [`${quote(`${field.column ?? field.name}_us`)} INTEGER`]
      : []),
  ]);
  const key = kind.key.map((field) => columnOf(kind.fields.find(({ name }) => name === field) as Field));
  if (key.length > 0) columns.push(`PRIMARY KEY (${key.join(", ")})`);
  return { name, columns: columns.join(", ") };
}

/** Tables first, then their foreign keys. */
export function postgresSql(): string {
  const tables = another.kinds.map((kind) => {
    const { name, columns } = tableSql(kind, "postgres");
    return `CREATE TABLE ${name} (${columns})`;
  });
  const keys = another.kinds.flatMap((kind) =>
    kind.foreignKeys.map(({ fields, references, referencedFields }) => {
      const parent = another.byPath.get(references) as RecordKind;
      return `ALTER TABLE ${tableSql(kind, "postgres").name} ADD FOREIGN KEY (${fields.map(quote).join()}) REFERENCES ${tableSql(parent, "postgres").name} (${referencedFields.map(quote).join()})`;
    }),
  );
  return [`CREATE SCHEMA ${quote(SCHEMA)}`, ...tables, ...keys].join(";\n");
}

export function sqliteSql(catalog = another): string {
  return catalog.kinds
    .map((kind) => {
      const { name, columns } = tableSql(kind, "sqlite");
      const lacks = kind.sqlite.layout === "table" && kind.sqlite.withoutRowid === true;
      return `CREATE TABLE ${name} (${columns})${lacks ? " WITHOUT ROWID" : ""}`;
    })
    .join(";\n");
}
