/** The catalog of another application than llmspell: what a library lends to its members. */
import { createCatalog, type RecordKind } from "../../../src/catalog/index.js";

const members = {
  path: "members",
  label: "Members",
  noun: "member",
  since: "1",
  fields: [
    { name: "member_id", type: "uuid" },
    { name: "name", type: "text", maxLength: 80 },
    { name: "since", type: "timestamp" },
    { name: "settings", type: "json", nullable: true },
  ],
  key: ["member_id"],
  uniqueKeys: [["name"]],
  foreignKeys: [],
  tenantField: null,
  postgres: { schema: "library", table: "members" },
  sqlite: { layout: "table", table: "members" },
} as const satisfies RecordKind;

const books = {
  path: "shelves.books",
  label: "Books",
  noun: "book",
  since: "1",
  fields: [
    { name: "isbn", type: "text" },
    { name: "pages", type: "int4", nullable: true },
    { name: "lendable", type: "bool" },
    { name: "cover", type: "bytes", nullable: true },
    { name: "subjects", type: "text_array" },
  ],
  key: ["isbn"],
  uniqueKeys: [],
  foreignKeys: [],
  tenantField: null,
  postgres: { schema: "library", table: "books" },
  sqlite: { layout: "table", table: "books" },
} as const satisfies RecordKind;

const loans = {
  path: "loans",
  label: "Loans",
  noun: "loan",
  since: "1",
  fields: [
    { name: "loan_id", type: "int8" },
    { name: "member_id", type: "uuid" },
    { name: "isbn", type: "text" },
    { name: "due", type: "timestamp", nullable: true },
  ],
  key: ["loan_id"],
  uniqueKeys: [],
  foreignKeys: [
    { fields: ["member_id"], references: "members", referencedFields: ["member_id"], onDrop: "cascade" },
    { fields: ["isbn"], references: "shelves.books", referencedFields: ["isbn"] },
  ],
  tenantField: null,
  postgres: { schema: "library", table: "loans" },
  sqlite: { layout: "table", table: "loans" },
} as const satisfies RecordKind;

// The document has the loans first; they are loaded last.
export const catalog = createCatalog([loans, members, books]);
