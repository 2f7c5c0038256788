/** Completions as the shells give them: the real ones, in a terminal of their own, with the Tab key. */
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { commandNames, createProgram } from "../../src/commands/syntax/program.js";
import { ERROR_CODES } from "../../src/errors.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { describeWithTools } from "../helpers/system-tools.js";

let workspace: Workspace;
const scripts = { bash: "completion.bash", zsh: "completion.zsh", fish: "completion.fish" } as const;
type Shell = keyof typeof scripts;

beforeAll(async () => {
  workspace = createWorkspace();
  for (const [shell, name] of Object.entries(scripts)) {
    const { stdout, stderr } = await workspace.must(["completion", shell]);
    expect(stderr).toBe("");
    writeFileSync(workspace.path(name), stdout);
  }
  // What stands in a command line when Enter is pressed, a word a line.
  for (const name of ["llmspell", "llmspell-storage"]) {
    writeFileSync(workspace.path(`bin/${name}`), `#!/bin/sh\nprintf '%s\\n' "$@" >'${workspace.path("words")}'\n`);
    chmodSync(workspace.path(`bin/${name}`), 0o755);
  }
  mkdirSync(workspace.path("work"));
  mkdirSync(workspace.path("work/a folder"));
  writeFileSync(workspace.path("work/notes of may.json"), "");
  writeFileSync(workspace.path("work/store.db"), "");
});
afterAll(() => workspace[Symbol.dispose]());

const START: Readonly<Record<Shell, string>> = {
  bash: "exec bash --noprofile --rcfile",
  zsh: "ZDOTDIR=",
  fish: "",
};

/** A shell as it is for a user who has sourced the script, in a terminal. */
function terminalOf(shell: Shell): string {
  const script = workspace.path(scripts[shell]);
  if (shell === "bash") {
    const rc = workspace.path("bashrc");
    writeFileSync(
      rc,
      `. '${script}'\nbind 'set bell-style none'\nbind 'set page-completions off'\nbind 'set completion-query-items 0'\n`,
    );
    return `${START.bash} ${rc} -i`;
  }
  if (shell === "zsh") {
    writeFileSync(
      workspace.path(".zshrc"),
      `autoload -U compinit; compinit -u -d '${workspace.path("dump")}'\nunsetopt beep\nsource '${script}'\n`,
    );
    return `${START.zsh}'${workspace.folder}' exec zsh -i`;
  }
  return `exec fish --no-config -i -C "source '${script}'"`;
}

/** The words of the command line that was typed, where \t is the Tab key. */
async function typed(shell: Shell, line: string): Promise<string[]> {
  const terminal = spawn("script", ["-qec", terminalOf(shell), "/dev/null"], {
    cwd: workspace.path("work"),
    env: {
      PATH: `${workspace.path("bin")}:${process.env["PATH"]}`,
      HOME: workspace.folder,
      TERM: "dumb",
      LANG: "C.UTF-8",
    },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const { stdout } = await outcomeOf(terminal, `${line}\rexit\r`);
  try {
    return readFileSync(workspace.path("words"), "utf8").split("\n").slice(0, -1);
  } catch {
    throw new Error(`${shell} ran nothing for ${JSON.stringify(line)}: ${stdout}`);
  } finally {
    writeFileSync(workspace.path("words"), "");
  }
}

/** What is typed, and what then stands there. */
const CASES: readonly [string, readonly string[]][] = [
  ["llmspell-storage stor\texp\t", ["storage", "export"]],
  ["llmspell stor\tmig\t--fr\tst\t--to x.db", ["storage", "migrate", "--from", "store.db", "--to", "x.db"]],
  ["llmspell datab\tmigrations l\t", ["database", "migrations", "list"]],
  ["llmspell storage export --comp\tz\t", ["storage", "export", "--compress", "zstd"]],
  ["llmspell storage import --include artifacts.c\t", ["storage", "import", "--include", "artifacts.content"]],
  ["llmspell storage import --inp\tnot\t", ["storage", "import", "--input", "notes of may.json"]],
  ["llmspell -c store.db storage inf\tsto\t", ["-c", "store.db", "storage", "info", "store.db"]],
  ["llmspell-storage explain E_PARENT\t", ["explain", "E_PARENT_REJECTED"]],
  ["llmspell-storage help storage imp\t", ["help", "storage", "import"]],
  ["llmspell-storage completion f\t", ["completion", "fish"]],
  ["llmspell database health --backend sq\t--stri\t", ["database", "health", "--backend", "sqlite", "--strict"]],
];

for (const shell of Object.keys(scripts) as Shell[])
  describeWithTools(shell === "bash" ? [] : [shell], `completions in ${shell}`, () => {
    it.each(CASES)("%j", async (line, words) => {
      // zsh puts the sign between an option and its value.
      const separated = (await typed(shell, line)).flatMap((word) => word.split(/(?<=^--[a-z-]+)=/));
      expect(separated).toEqual(words);
    });

    it("behind an equals sign", async () => {
      const [, , option] = await typed(shell, "llmspell storage export --compress=gz\t");
      expect(option).toBe("--compress=gzip");
    });
  });

describeWithTools([], "all that bash offers", () => {
  /** M-* puts all of them into the line. */
  const offered = (line: string): Promise<string[]> => typed("bash", `${line}\u001b*`);
  const program = createProgram(async () => {}, new AbortController().signal);

  it("is every command, option, section and code", async () => {
    const first = [...new Set(commandNames(program).map((name) => name.split(" ")[0] as string))];
    expect(await offered("llmspell-storage ")).toEqual([...first, "help"].sort());
    const exporting = program.commands[0]?.commands.find((command) => command.name() === "export");
    const names = exporting?.options.map(({ long }) => long as string) ?? [];
    expect((await offered("llmspell storage export --")).slice(2)).toEqual([...names, "--help"].sort());
    const sections = (await offered("llmspell storage export --include ")).slice(3);
    expect(sections).toEqual(expect.arrayContaining(catalog.kinds.map(({ path }) => path)));
    expect((await offered("llmspell explain E")).slice(1)).toEqual(Object.keys(ERROR_CODES).sort());
  });
});

it("a shell that nobody knows is named", async () => {
  const { status, stderr } = await workspace.run(["completion", "tcsh"]);
  expect(status).toBe(2);
  expect(stderr).toContain("Allowed choices are bash, zsh, fish");
});
