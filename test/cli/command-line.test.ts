/** What needs no database: help, versions, usage. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commandNames, createProgram } from "../../src/commands/syntax/program.js";
import { ERROR_CODES } from "../../src/errors.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const cli = `${root}dist/cli.js`;
const version = (JSON.parse(readFileSync(`${root}package.json`, "utf8")) as { version: string }).version;

let workspace: Workspace;
beforeAll(() => {
  workspace = createWorkspace();
});
afterAll(() => workspace[Symbol.dispose]());

function program(): Command {
  return createProgram(async () => {}, new AbortController().signal);
}

/** Every command that does something, with its words. */
function leaves(parent: Command, words: readonly string[] = []): [string, Command][] {
  return parent.commands.flatMap((command): [string, Command][] => {
    const path = [...words, command.name()];
    return command.commands.length === 0 ? [[path.join(" "), command]] : leaves(command, path);
  });
}

describe("llmspell", () => {
  it("prints its version", async () => {
    expect(await workspace.must(["--version"])).toMatchObject({ stdout: `llmspell-storage ${version}\n`, stderr: "" });
  });

  it("prints it with -V, too, under both names", async () => {
    const named = workspace.path("bin/llmspell-storage");
    symlinkSync(cli, named);
    for (const words of [["-V"], ["--version"]])
      for (const name of [cli, named]) {
        const { stdout } = spawnSync(process.execPath, [name, ...words], { encoding: "utf8" });
        expect(stdout).toBe(`llmspell-storage ${version}\n`);
      }
  });

  it("calls itself what it is called", () => {
    const named = workspace.path("bin/named/llmspell-storage");
    mkdirSync(dirname(named));
    symlinkSync(cli, named);
    const run = (name: string, ...words: string[]) =>
      spawnSync(process.execPath, [name, ...words], { encoding: "utf8" }).stdout;
    expect(run(named, "--help")).toMatch(/^Usage: llmspell-storage \[/);
    expect(run(cli, "--help")).toMatch(/^Usage: llmspell \[/);
    expect(run(named, "storage", "export", "--help")).toMatch(/^Usage: llmspell-storage storage export \[/);
    expect(run(named, "storage", "export", "--help")).toContain("\n  llmspell-storage storage export --backend sqlite");
    expect(run(named, "--help")).not.toContain("Every other command of llmspell");
  });

  it.each(["storage export", "database migrations list", "storage", "database migrations", "explain"])(
    "help %s is its --help",
    async (name) => {
      const words = name.split(" ");
      const { stdout } = await workspace.must([...words, "--help"]);
      expect(await workspace.must(["help", ...words])).toMatchObject({ stdout, stderr: "" });
      const [last = "", ...before] = words.toReversed();
      expect((await workspace.must([...before.reverse(), "help", last])).stdout).toBe(stdout);
    },
  );

  it("help of what is no command names those that are", async () => {
    for (const words of [
      ["help", "storage", "exprot"],
      ["storage", "help", "exprot"],
    ]) {
      const { status, stderr } = await workspace.run(words);
      expect(status).toBe(2);
      expect(stderr).toContain(
        "Error: unknown command 'exprot' [E_USAGE]\nHint: Did you mean export? The commands are",
      );
    }
    expect((await workspace.must(["help"])).stdout).toBe((await workspace.must(["--help"])).stdout);
    // A store of that name.
    expect((await workspace.run(["storage", "info", "help"])).stderr).toContain("not a store: help");
  });

  it.each(leaves(program()))("%s shows its options in groups", (_name, command) => {
    for (const { long, helpGroupHeading } of command.options) {
      const expected = long === "--config" ? /^Options:$/ : /^(?!Options)[A-Z].*:$/;
      expect([long, helpGroupHeading]).toEqual([long, expect.stringMatching(expected)]);
    }
  });

  it.each(leaves(program()).map(([name]) => name))("%s --help has every option and examples", async (name) => {
    const { stdout } = await workspace.must([...name.split(" "), "--help"]);
    const [, command] = leaves(program()).find(([words]) => words === name) as [string, Command];
    for (const { long } of command.options) expect(stdout).toContain(`${long} `);
    expect(stdout).toMatch(new RegExp(`Examples:\n {2}.*llmspell ${name}`, "s"));
  });

  it.each([
    [["exec", "return 1"], "the command exec belongs to llmspell itself", "the commands storage and database"],
    [["storage", "exprot"], "unknown command 'exprot'", "Did you mean export?"],
    [["session", "list"], "the command session belongs to llmspell itself", "Install llmspell"],
    [[], "no command is given", "storage export"],
    [["storage"], "no command is given", "storage export"],
    [["storage", "export"], "required option '--output <FILE>' not specified", "--help"],
    [["storage", "export", "--output"], "option '--output <FILE>' argument missing", "--help"],
    [["storage", "export", "--output", "x.json", "--rewrite", "."], "unknown option '--rewrite'", "--help"],
    [
      ["storage", "export", "--output", "x.json", "--backend", "mysql"],
      "The backends are sqlite and postgres",
      "--help",
    ],
    [["storage", "export", "--output", "x.json", "--include", "sesions"], "unknown section: sesions", "sessions, "],
    [
      ["storage", "import", "--input", "x.json", "--on-conflict", "replace"],
      "Allowed choices are update, skip, error",
      "",
    ],
    [["storage", "import", "--input", "x.json", "--rejects", "r"], "--rejects needs --on-error skip", ""],
    [
      ["storage", "import", "--input", "x.json", "--on-error", "skip", "--rejects", "x.json"],
      "--rejects names a file that",
      "",
    ],
    [
      ["storage", "migrate", "--from", "a.db", "--to", "./a.db"],
      "source and target are the same store",
      "A copy goes to another",
    ],
    [
      ["storage", "migrate", "--from", "a.db", "--to", "b.json"],
      "the target is no database",
      "`llmspell storage export` ",
    ],
    [["storage", "info", "a.db", "--backend", "sqlite"], "name the store once", ""],
    [["storage", "info", "what"], "not a store: what", "postgresql:// URL"],
    [["database", "health", "--database", "x.json"], "names a document, not a database", "storage import"],
    [
      ["storage", "export", "--output", "a.json", "--database", "x.json"],
      "names a document",
      "`llmspell storage import",
    ],
    [
      ["storage", "export", "--output", "a.json", "--database", "a.db", "--backend", "postgres"],
      "different",
      "Leave out",
    ],
    [["storage", "import", "--input", "a.json", "--map-tenant", "acme"], "takes OLD=NEW", "--map-tenant acme="],
    [["storage", "import", "--input", "a.json", "--plugin", "./p.mjs:{a}"], "not valid JSON", "./tidy.mjs:{"],
    [["database", "health", "--backend", "postgres"], "no PostgreSQL connection is configured", "DATABASE_URL"],
    // `--tenant $T` where T is not set.
    [["storage", "export", "--output", "a.json", "--tenant", "--quiet"], "the value is missing", ""],
    [["storage", "export", "--output", "--force"], "the value is missing", ""],
    [["storage", "verify", "a.db", "b.db", "--tenant", "--strict"], "the value is missing", ""],
  ])("%j is refused: %s", async (words, message, hint) => {
    const { status, stderr } = await workspace.run(words);
    expect(status).toBe(2);
    const error = stderr.slice(stderr.indexOf("Error: "));
    expect(error.split("\n")[0]).toContain(message);
    expect(error.split("\n")[0]).toMatch(/ \[E_(USAGE|CONFIG)\]$/);
    expect(error).toContain(hint);
    expect(error).not.toMatch(/\n\s+at .*\.js/);
  });

  it.each([
    [["export", "--output", "x.json", "--include", "sesions"], "unknown section"],
    [["export", "--output", "x.json", "--jq", ".data["], "jq"],
    [["export", "--output", "x.json", "--mask", "sessions.status=blur"], "blur"],
    [["export", "--output", "x.json", "--plugin", "./none.mjs"], "none.mjs"],
    [["export", "--output", "x.json", "--rejects", "r"], "--rejects needs"],
    [["import", "--input", "x.json", "--translate", "nonsense"], "It is llmspell, or llmspell:TENANT"],
    [["import", "--input", "x.json", "--report", "r.txt"], "--report takes a name"],
    [["migrate", "--from", "a.db", "--to", "b.db", "--translate", "nonsense"], "It is llmspell, or llmspell:TENANT"],
  ])("storage %j says nothing before what is wrong with its options", async (words, message) => {
    const { status, stdout, stderr } = await workspace.run(["storage", ...words]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^Error: /);
    expect(stderr).toContain(message);
  });

  it("says which Node it needs before it loads anything", () => {
    const older = "data:text/javascript,Object.defineProperty(process.versions,'node',{value:'20.20.2'})";
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ["--import", older, cli, "storage", "info", "x.db"],
      {
        encoding: "utf8",
      },
    );
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toContain("needs Node 22.15 or newer; this is 20.20.2");
  });
});

describe("the documentation", () => {
  const read = (path: string): string => readFileSync(root + path, "utf8");

  it("lists every error code with its exit status and meaning", () => {
    const rows = [...read("docs/errors.md").matchAll(/^\| `(E_\w+)` \| (\d+) \| (.*) \|$/gm)].map((row) =>
      row.slice(1),
    );
    expect(rows).toEqual(Object.entries(ERROR_CODES).map(([code, { exit, meaning }]) => [code, String(exit), meaning]));
  });

  it("says every command and every option, and none that is not there", () => {
    const text = read("docs/command-line.md");
    for (const name of commandNames(program())) expect(text).toContain(`llmspell ${name}`);
    const options = new Set(leaves(program()).flatMap(([, { options }]) => options.map(({ long }) => long as string)));
    const documented = new Set(
      [...text.matchAll(/^\| (`--[^|]*) \|/gm)].flatMap(([, cell]) => cell?.match(/--[a-z-]+/g) ?? []),
    );
    expect([...documented].sort()).toEqual([...options, "--help"].sort());
  });

  const pages = ["README.md", ...readdirSync(`${root}docs`).map((name) => `docs/${name}`)];

  /** The lines of shell blocks that run llmspell, without redirections and what they are piped into or from. */
  function commandsOf(path: string): string[] {
    const blocks = [...read(path).matchAll(/^```sh\n(.*?)^```/gms)].map(([, block]) => block as string);
    const lines = blocks.flatMap((block) => block.split("\n"));
    return lines
      .flatMap((line) => line.match(/llmspell (storage|database) ('[^']*'|[^#|>)'\n])*/g) ?? [])
      .map((line) => line.trim().replace(/ 2$/, ""));
  }

  it.each(pages)("%s has no command that is not understood", async (path) => {
    for (const line of commandsOf(path)) {
      let understood = false;
      const parser = createProgram(async () => {
        understood = true;
      }, new AbortController().signal);
      const words = line.match(/('[^']*'|[^\s'])+/g) ?? [];
      await parser.parseAsync(
        words.slice(1).map((word) => word.replaceAll("'", "")),
        { from: "user" },
      );
      expect([line, understood]).toEqual([line, true]);
    }
    if (path === "README.md") expect(commandsOf(path).length).toBeGreaterThan(8);
    if (path === "docs/migration-guide.md") expect(commandsOf(path).length).toBeGreaterThan(40);
  });

  /** Whether the package holds it. */
  const isPacked = (path: string): boolean => {
    const { files } = JSON.parse(read("package.json")) as { files: string[] };
    const always = ["README.md", "LICENSE", "package.json"];
    return [...always, ...files].some((file) => path === file || path.startsWith(`${file}/`) || `${file}/` === path);
  };

  it.each([...pages, "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"])("%s links to what is there", (path) => {
    for (const [, target = "", heading] of read(path).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)) {
      const file = target === "" ? path : join(dirname(path), target);
      // `npm run bench` writes its results.
      if (file !== "bench/RESULTS.md") expect([file, existsSync(root + file)]).toEqual([file, true]);
      if (isPacked(path)) expect([file, isPacked(file)]).toEqual([file, true]);
      if (heading === undefined) continue;
      // GitHub's anchors: lower case, blanks to hyphens, punctuation gone.
      const headings = [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, text = ""]) =>
        text
          .toLowerCase()
          .replace(/[^\w\- ]/g, "")
          .replaceAll(" ", "-"),
      );
      expect(headings).toContain(heading);
    }
  });
});
