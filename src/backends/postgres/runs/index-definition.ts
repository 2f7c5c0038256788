/** What a stored definition of an index is, before it is run: one CREATE INDEX of a table, and nothing else. */

export interface Named {
  readonly schema: string;
  readonly table: string;
  readonly name: string;
  /** Its access method. */
  readonly method: string;
  /** From USING on: what the index is, whichever table it is of. */
  readonly tail: string;
}

const NAME = `(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)`;
const HEAD = new RegExp(`^CREATE INDEX (${NAME}) ON (${NAME})\\.(${NAME}) USING ([a-z]+) (?=\\()`);
/** What may follow: names, strings without escapes, numbers, signs; neither a semicolon nor a comment. */
const TOKEN = /\s+|'(?:[^']|'')*'|"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_]*|[0-9.]+|::|[-+*/<>=~!@#%^&|?,()[\].]/y;

function plain(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
}

/**
 * The index and the table that the definition names; undefined where it is not exactly one CREATE INDEX, as pg_get_indexdef
 * writes it, or where it would call what is not PostgreSQL's own: our search path has pg_catalog only, so that a function, an
 * operator or a type of anybody else's has a schema before its name.
 */
export function parseIndexDefinition(definition: string): Named | undefined {
  const head = HEAD.exec(definition);
  if (head === null) return undefined;
  // A letter before a string (E'…') would make escapes of its backslashes.
  if (/\w'|&'/.test(definition.replaceAll(/'(?:[^']|'')*'/g, (text) => text.replaceAll(/[^']/g, " "))))
    return undefined;
  const tokens: string[] = [];
  TOKEN.lastIndex = head[0].length;
  while (TOKEN.lastIndex < definition.length) {
    const token = TOKEN.exec(definition)?.[0];
    if (token === undefined) return undefined;
    if (token.trim() !== "") tokens.push(token);
  }
  let depth = 0;
  for (const [at, token] of tokens.entries()) {
    if (token === "(") depth++;
    if (token === ")") depth--;
    // CAST (… AS schema.type) is written as :: by the server.
    if (depth < 0 || ["OPERATOR", "SELECT", "AS"].includes(token.toUpperCase())) return undefined;
    if ((token === "-" || token === "/") && (tokens[at + 1] === token || tokens[at + 1] === "*")) return undefined;
    if (token !== ".") continue;
    // schema.name of an operator class or a collation; a call or a cast of such a name is refused.
    if (tokens[at + 2] === "(" || tokens[at - 2] === "::") return undefined;
  }
  if (depth !== 0) return undefined;
  const [, name = "", schema = "", table = "", method = ""] = head;
  const tail = definition.slice(head[0].length - `USING ${method} `.length);
  return { name: plain(name), schema: plain(schema), table: plain(table), method, tail };
}
