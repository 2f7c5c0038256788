/** ARCHITECTURE.md says what is there: its folders against the tree, its layers against the lint rule. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { refusedImports } from "./refused-imports.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const page = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");

/** `src/a/`, `b/` in a row of the table about `src/a/`: src/a and src/a/b. */
const rows = [...page.matchAll(/^\| (`src\/.*?) \| (.*) \|$/gm)].map(([, first = "", text = ""]) => ({
  named: [...first.matchAll(/`(src\/[^`]*)`/g)].map(([, path = ""]) => path.replace(/\/$/, "")),
  rooms: [...text.matchAll(/`(\w[\w-]*\/)`/g)].map(([, name = ""]) => name.replace(/\/$/, "")),
}));

/** From the top to the bottom: `a -> b, c -> d`; what stands in one layer, a comma between, may import each other unless said otherwise. */
const layers = (/^Layers, from the top: (.*)\.$/m.exec(page)?.[1] ?? "")
  .split(" -> ")
  .map((layer) => layer.split(", ").map((name) => name.replaceAll("`", "")));

it("the table of folders is there", () => {
  expect(rows.length).toBeGreaterThan(15);
  expect(layers.length).toBeGreaterThan(8);
});

it("every path of the page is in the tree", () => {
  const paths = [...page.matchAll(/`?((?:src|test|docs|scripts|bench)\/[\w./-]*\w)/g)].map(([, path = ""]) => path);
  expect(paths.length).toBeGreaterThan(30);
  const missing = paths.filter(
    (path) => !path.includes("NNN") && !existsSync(join(root, path)) && !existsSync(join(root, `${path}.ts`)),
  );
  expect(missing).toEqual([]);
  const rooms = rows.flatMap(({ named, rooms }) => rooms.map((room) => named.map((path) => `${path}/${room}`)));
  expect(rooms.filter((choices) => !choices.some((path) => existsSync(join(root, path))))).toEqual([]);
});

it("every file and folder of src has its row", () => {
  const said = new Set(
    rows.flatMap(({ named, rooms }) => [...named, ...named.flatMap((path) => rooms.map((room) => `${path}/${room}`))]),
  );
  const unsaid: string[] = [];
  const visit = (folder: string, depth: number): void => {
    for (const name of readdirSync(join(root, folder))) {
      const path = `${folder}/${name}`;
      const isFolder = statSync(join(root, path)).isDirectory();
      const isNamed = said.has(path) || [...said].some((one) => one.startsWith(`${path}/`));
      if ((isFolder || depth === 0) && !isNamed) unsaid.push(path);
      if (isFolder && depth < 1 && !rows.some(({ named }) => named.length > 1 && named.includes(path))) {
        // A folder whose row names rooms names all of them.
        const row = rows.find(({ named }) => named.includes(path));
        if (row === undefined || row.rooms.length > 0) visit(path, depth + 1);
      }
    }
  };
  visit("src", 0);
  expect(unsaid).toEqual([]);
});

/** What the page says in words: who may not import all that stands below. */
const STRICTER: Readonly<Record<string, readonly string[]>> = {
  "src/config": ["src/pipeline.ts", "src/sinks", "src/sources"],
  "src/pipeline.ts": [
    "src/backends/postgres",
    "src/backends/sqlite",
    "src/backends/pglite",
    "src/document",
    "src/codecs",
  ],
  "src/backends/sqlite": ["src/backends/pglite"],
};

it("a layer imports those below it, and none above: the lint rule says the same", () => {
  const isFile = (name: string): boolean => name.endsWith(".ts");
  const fileIn = (name: string, file: string): string => (isFile(name) ? name : `${name}/${file}.ts`);
  const importOf = (from: string, to: string, file: string): { file: string; imports: string } => {
    const importing = fileIn(from, "importing");
    const target = relative(join(root, importing, ".."), join(root, fileIn(to, file))).replace(/\.ts$/, ".js");
    return { file: importing, imports: target.startsWith(".") ? target : `./${target}` };
  };
  const upward: { file: string; imports: string }[] = [];
  const downward: { file: string; imports: string }[] = [];
  for (const [height, layer] of layers.entries())
    for (const name of layer)
      for (const lower of layers.slice(height + 1).flat()) {
        upward.push(importOf(lower, name, "target"));
        if (STRICTER[name]?.includes(lower)) upward.push(importOf(name, lower, "target"));
        else downward.push(importOf(name, lower, "target"));
      }
  const refused = refusedImports([...upward, ...downward]);
  const asText = ({ file, imports }: { file: string; imports: string }): string => `${file} -> ${imports}`;
  expect(upward.map(asText).filter((one) => !refused.has(one))).toEqual([]);
  expect(downward.map(asText).filter((one) => refused.has(one))).toEqual([]);
});
