import JSONStream from "JSONStream";
import { once } from "node:events";
import { Readable } from "node:stream";
import fc from "fast-check";
import parser from "stream-json/parser.js";
import { describe, expect, it } from "vitest";
import type { Field, RecordKind } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { dataSetArbitrary } from "../helpers/arbitraries.js";
import { readDocument, writeDocument } from "../helpers/documents.js";

/** JSON with numbers as they are spelled. */
type Tree = string | boolean | null | { number: string } | Tree[] | Map<string, Tree>;

/** Parses with stream-json, which shares nothing with our scanner or with JSON.parse. */
async function parseTree(text: Buffer): Promise<Tree> {
  const tokens = Readable.from([text]).pipe(parser.asStream({ packValues: true, streamValues: false }));
  const stack: (Tree[] | Map<string, Tree>)[] = [];
  let key = "";
  const keys: string[] = [];
  let root: Tree = null;
  const add = (value: Tree) => {
    const parent = stack.at(-1);
    if (parent === undefined) root = value;
    else if (Array.isArray(parent)) parent.push(value);
    else parent.set(key, value);
  };
  for await (const token of tokens as AsyncIterable<{ name: string; value?: string }>) {
    switch (token.name) {
      case "startObject":
      case "startArray": {
        const container = token.name === "startArray" ? [] : new Map<string, Tree>();
        add(container);
        stack.push(container);
        keys.push(key);
        break;
      }
      case "endObject":
      case "endArray":
        stack.pop();
        key = keys.pop() ?? "";
        break;
      case "keyValue":
        key = token.value ?? "";
        break;
      case "stringValue":
        add(token.value ?? "");
        break;
      case "numberValue":
        add({ number: token.value ?? "" });
        break;
      case "nullValue":
        add(null);
        break;
      case "trueValue":
      case "falseValue":
        add(token.name === "trueValue");
        break;
    }
  }
  return root;
}

/** What stream-json should see of a canonical value, worked out from the value's meaning. */
async function expected(field: Field, value: Buffer | null): Promise<Tree | undefined> {
  if (value === null) return field.type === "json" ? undefined : null;
  switch (field.type) {
    case "text":
      return value.toString("utf8");
    case "uuid":
      if (value.length > 16) return value.toString("utf8", 17);
      return value.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
    case "int4":
      return { number: String(value.readInt32BE()) };
    case "int8":
      return { number: String(value.readBigInt64BE()) };
    case "bool":
      return value[0] === 1;
    case "timestamp": {
      const time = value.readBigInt64BE();
      if (time === 2n ** 63n - 1n) return "infinity";
      return time === -(2n ** 63n) ? "-infinity" : { number: String(time + 946684800000000n) };
    }
    case "json":
    case "text_array":
      return parseTree(value);
    case "bytes":
    case "vector":
      return value.toString("base64");
  }
}

function at(tree: Tree, path: readonly string[]): Tree | undefined {
  return path.reduce<Tree | undefined>((node, key) => (node instanceof Map ? node.get(key) : undefined), tree);
}

describe("other parsers", () => {
  it("see in our documents what was written", async () => {
    await fc.assert(
      fc.asyncProperty(dataSetArbitrary(catalog, { recordsPerKind: 2, idTexts: true }), async (data) => {
        const bytes = await writeDocument(data);
        const tree = await parseTree(bytes);
        let total = 0;
        for (const [path, records] of data) {
          const kind = catalog.byPath.get(path) as RecordKind;
          const array = (at(tree, ["data", ...path.split(".")]) ?? []) as Map<string, Tree>[];
          expect(array).toHaveLength(records.length);
          for (const [row, record] of records.entries()) {
            total++;
            for (const [index, field] of kind.fields.entries())
              expect([field.name, array[row]?.get(field.name)]).toEqual([
                field.name,
                await expected(field, record[index] ?? null),
              ]);
          }
        }
        expect(at(tree, ["manifest", "total"])).toEqual({ number: String(total) });
        const seen = Readable.from([bytes]).pipe(JSONStream.parse("data.kv_store.*"));
        let count = 0;
        seen.on("data", () => count++);
        await once(seen, "end");
        expect(count).toBe(data.get("kv_store")?.length ?? 0);
      }),
      { numRuns: 20 },
    );
  });

  it("see what our reader rejects and takes, record by record", async () => {
    const [data] = fc.sample(dataSetArbitrary(catalog), { seed: 9, numRuns: 1 });
    const bytes = await writeDocument(data ?? new Map());
    const read = await readDocument(bytes, { pieceBytes: 1000 });
    const tree = await parseTree(bytes);
    const counts = catalog.kinds.map(({ path }) => [
      path,
      ((at(tree, ["data", ...path.split(".")]) ?? []) as Tree[]).length,
    ]);
    expect(catalog.kinds.map(({ path }) => [path, read.data.get(path)?.length ?? 0])).toEqual(counts);
  });
});
