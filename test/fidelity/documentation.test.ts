/** docs/fidelity.md names tests that are there, and says what the tool does. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { ERROR_CODES } from "../../src/errors.js";

const root = new URL("../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");
const text = read("docs/fidelity.md");

/** Cells of the table's rows below a heading. */
function tableBelow(heading: string): string[][] {
  const section = text.slice(text.indexOf(`\n## ${heading}\n`)).split(/\n## /)[1] ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("|"));
  return rows.slice(2).map((line) =>
    line
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim()),
  );
}

it("every proof is a test that is there, by its file and its very words", () => {
  const proofs = tableBelow("What proves it");
  expect(proofs.length).toBeGreaterThan(70);
  const missing = proofs.filter(([, file = "", name = ""]) => {
    const path = /^`(test\/[\w/.-]+\.ts)`$/.exec(file)?.[1];
    if (path === undefined || name === "") return true;
    // A quoted text in the file: the whole of it, or its beginning or end where the rest is filled in.
    const source = read(path).replaceAll('\\"', '"');
    return !source.includes(`"${name}`) && !source.includes(`\`${name}`) && !source.includes(`${name}"`);
  });
  expect(missing).toEqual([]);
});

it("every test file of fidelity is among the proofs", () => {
  const named = new Set(tableBelow("What proves it").map(([, file]) => file?.slice(1, -1)));
  const cases = new Map([
    ["test/fidelity/values.test.ts", "test/fidelity/value-cases.ts"],
    ["test/fidelity/refusals.test.ts", "test/fidelity/refused-records.ts"],
  ]);
  const files = readdirSync(new URL("test/fidelity", root))
    .filter((name) => name.endsWith(".test.ts") && name !== "documentation.test.ts")
    .map((name) => `test/fidelity/${name}`);
  expect(files.filter((file) => !named.has(file) && !named.has(cases.get(file)))).toEqual([]);
});

it("what cannot cross has codes that exist, and each is refused by a test", () => {
  const tests = [
    read("test/fidelity/refused-records.ts"),
    ...["refusals", "bad-rows", "order", "large-objects", "invalid-uuids", "encodings"].map((name) =>
      read(`test/fidelity/${name}.test.ts`),
    ),
  ];
  const codes = tableBelow("What cannot cross").flatMap(([, code = ""]) =>
    [...code.matchAll(/`(E_\w+)`/g)].map(([, each]) => each as string),
  );
  expect(codes.length).toBeGreaterThan(15);
  for (const code of codes) {
    expect(Object.keys(ERROR_CODES)).toContain(code);
    expect([code, tests.some((test) => test.includes(`"${code}"`))]).toEqual([code, true]);
  }
});
