/** `explain`, and docs/errors.md, which is made from the same tables. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EXPLANATIONS } from "../../src/commands/shown/explanations.js";
import { createProgram } from "../../src/commands/syntax/program.js";
import { ERROR_CODES, type ErrorCode } from "../../src/errors.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";

const page = fileURLToPath(new URL("../../docs/errors.md", import.meta.url));
const codes = Object.keys(ERROR_CODES) as ErrorCode[];

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
});
afterAll(() => workspace[Symbol.dispose]());

/** The end of docs/errors.md, from the tables in src. */
function codesOfPage(): string {
  const rows = codes.map((code) => `| \`${code}\` | ${ERROR_CODES[code].exit} | ${ERROR_CODES[code].meaning} |`);
  const explained = codes.map((code) => {
    const { cause, remedy, example } = EXPLANATIONS[code];
    return `### ${code}\n\n${ERROR_CODES[code].meaning} (exit status ${ERROR_CODES[code].exit})\n\n- Cause: ${cause}\n- Remedy: ${remedy}\n\n\`\`\`\n${example}\n\`\`\`\n`;
  });
  return [
    "## Codes",
    "",
    "`llmspell-storage explain CODE` says the same in a terminal.",
    "",
    "| code | exit | meaning |",
    "|---|---|---|",
    ...rows,
    "",
    "## What causes each, and what to do",
    "",
    explained.join("\n"),
  ].join("\n");
}

describe("llmspell-storage explain", () => {
  it("says cause, remedy and an example of each code", async () => {
    const { stdout } = await workspace.must(["explain", "E_ORPHAN"]);
    const { cause, remedy, example } = EXPLANATIONS.E_ORPHAN;
    expect(stdout).toBe(
      `E_ORPHAN: ${ERROR_CODES.E_ORPHAN.meaning}\nExit status: 5\nCause: ${cause}\nRemedy: ${remedy}\nExample: ${example}\n`,
    );
    for (const code of codes)
      for (const text of Object.values(EXPLANATIONS[code])) expect([code, text.length > 10]).toEqual([code, true]);
  });

  it.each(["e_orphan", "ORPHAN", "[E_ORPHAN]", "orphan"])("takes %s", async (word) => {
    expect((await workspace.must(["explain", word])).stdout).toContain("E_ORPHAN: ");
  });

  it("gives an object with --json", async () => {
    const { stdout } = await workspace.must(["explain", "E_LOCKED", "--json"]);
    const { exit: exitStatus, meaning } = ERROR_CODES.E_LOCKED;
    expect(JSON.parse(stdout)).toEqual({ code: "E_LOCKED", exitStatus, meaning, ...EXPLANATIONS.E_LOCKED });
  });

  it.each([
    ["E_ORFAN", "Did you mean E_ORPHAN?"],
    ["E_CONECT", "Did you mean E_CONNECT?"],
    ["permision", "Did you mean E_PERMISSION?"],
    ["E_XYZZY_PLUGH_FROTZ", "`llmspell explain` lists all codes."],
  ])("knows no %s: %s", async (word, hint) => {
    const { status, stderr } = await workspace.run(["explain", word]);
    expect(status).toBe(2);
    expect(stderr).toContain(`there is no error code ${word} [E_USAGE]`);
    expect(stderr).toContain(hint);
  });

  it("lists all codes without one", async () => {
    const lines = (await workspace.must(["explain"])).stdout.trimEnd().split("\n");
    expect(lines.map((line) => line.split(" ")[0])).toEqual(codes);
    expect(JSON.parse((await workspace.must(["explain", "--json"])).stdout).codes).toHaveLength(codes.length);
  });

  it("has only examples that are understood", async () => {
    const commands = Object.values(EXPLANATIONS)
      .flatMap(({ example, remedy }) => [example, remedy])
      .flatMap((text) => text.match(/llmspell (storage|database|--config) ('[^']*'|[^#|>)'`&(;])*/g) ?? []);
    expect(commands.length).toBeGreaterThan(25);
    for (const command of commands) {
      let understood = false;
      const parser = createProgram(async () => {
        understood = true;
      }, new AbortController().signal);
      const words = command.match(/('[^']*'|[^\s'])+/g) ?? [];
      const alone = /^llmspell storage info$/.test(command.trim());
      await parser.parseAsync(
        words.slice(1).map((word) => word.replaceAll("'", "")),
        { from: "user" },
      );
      expect([command, understood || alone]).toEqual([command, true]);
    }
  });
});

it("docs/errors.md ends with what the tables say (vitest -u writes it anew)", async () => {
  const text = readFileSync(page, "utf8");
  await expect(text.slice(0, text.indexOf("## Codes\n")) + codesOfPage()).toMatchFileSnapshot(page);
});
