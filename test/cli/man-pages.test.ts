/** The manual pages that the build makes of the command line. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { commandNames, createProgram } from "../../src/commands/syntax/program.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { describeWithTools } from "../helpers/system-tools.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = createProgram(async () => {}, new AbortController().signal, "llmspell-storage");

describeWithTools(["mandoc"], "the manual", () => {
  using _built = createWorkspace();
  const pages = readdirSync(`${root}man`);
  const shown = (page: string): string =>
    spawnSync("sh", ["-c", `mandoc -T ascii '${root}man/${page}' | sed 's/.\\x08//g'`], { encoding: "utf8" }).stdout;

  it("has a page of each command, and package.json names them all", () => {
    const names = commandNames(program).map((name) => name.replace(/^storage /, "").replaceAll(" ", "-"));
    expect(pages).toEqual(["llmspell-storage.1", ...names.map((name) => `llmspell-storage-${name}.1`)].sort());
    const { man, files } = JSON.parse(readFileSync(`${root}package.json`, "utf8")) as Record<string, string[]>;
    expect(man?.toSorted()).toEqual(pages.map((page) => `./man/${page}`));
    expect(files).toContain("man");
  });

  it.each(pages)("%s has nothing that mandoc warns of", (page) => {
    const { stdout, stderr } = spawnSync("mandoc", ["-Tlint", "-Wwarning", `${root}man/${page}`], { encoding: "utf8" });
    const lines = `${stdout}${stderr}`.split("\n").filter((line) => line !== "");
    // The same sources make the same pages on any day.
    expect(lines.filter((line) => !line.includes("missing date"))).toEqual([]);
  });

  it("says each option, its choices, and the examples", () => {
    const exporting = program.commands[0]?.commands.find((command) => command.name() === "export");
    const text = shown("llmspell-storage-export.1").replace(/\s+/g, " ");
    for (const { flags } of exporting?.options ?? []) expect(text).toContain(flags.replace(/[<>]/g, ""));
    expect(text).toContain("(auto, gzip, zstd, none)");
    expect(text).toContain("llmspell-storage storage export --backend postgres --output - | gzip > export.json.gz");
    expect(text).toContain("llmspell-storage-import(1)");
    expect(shown("llmspell-storage.1")).toContain("database migrations list");
  });
});
