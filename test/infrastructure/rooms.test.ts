/** The folders of src: none is so full that a reader has to search it, and a long file says why. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
const MOST_FILES = 15;
const MOST_LINES = 300;

const files = readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name));

it(`has at most ${MOST_FILES} files in a room; the migrations are a list, and grow`, () => {
  expect(files.length).toBeGreaterThan(200);
  const rooms = new Map<string, number>();
  for (const file of files.filter((name) => !name.endsWith(".sql")))
    rooms.set(dirname(file), (rooms.get(dirname(file)) ?? 0) + 1);
  expect([...rooms].filter(([, count]) => count > MOST_FILES)).toEqual([]);
});

it(`has no file of more than ${MOST_LINES} lines whose first comment does not say why`, () => {
  const sources = files.filter((name) => name.endsWith(".ts"));
  const long = sources.filter((file) => {
    const text = readFileSync(file, "utf8");
    const [comment = ""] = /^\/\*\*.*?\*\//s.exec(text) ?? [];
    return text.split("\n").length - 1 > MOST_LINES && !comment.includes(`Over ${MOST_LINES} lines: `);
  });
  expect(long).toEqual([]);
});
