/** Commands that are llmspell's own: two packages of ours and one other llmspell on the PATH, as real programs. */
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createProgram } from "../../src/commands/syntax/program.js";
import { OWN_COMMANDS } from "../../src/llmspell/program/handover.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
let workspace: Workspace;
let path: string;

function write(name: string, text: string): string {
  const file = workspace.path(name);
  writeFileSync(file, text);
  chmodSync(file, 0o755);
  return file;
}

/** A package of ours as npm installs it, and the folder with its commands as links. */
function install(name: string): string {
  const bin = workspace.path(`${name}/bin`);
  const to = workspace.path(`${name}/lib/node_modules/llmspell-storage`);
  mkdirSync(to, { recursive: true });
  mkdirSync(bin);
  for (const part of ["dist", "package.json"]) cpSync(join(root, part), join(to, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), workspace.path(`${name}/lib/node_modules/llmspell-storage/node_modules`));
  chmodSync(join(to, "dist/cli.js"), 0o755);
  for (const command of ["llmspell", "llmspell-storage"]) symlinkSync(join(to, "dist/cli.js"), join(bin, command));
  return bin;
}

beforeAll(() => {
  workspace = createWorkspace();
  const [first, second] = [install("first"), install("second")];
  mkdirSync(workspace.path("other"));
  write(
    "other/llmspell",
    '#!/bin/sh\necho "other:$$:$*"\n{ cat <&3; } 2>/dev/null\n[ "$1" = wait ] && exec sleep 60\nexit 7\n',
  );
  path = [first, second, workspace.path("other"), process.env["PATH"]].join(":");
});
afterAll(() => workspace[Symbol.dispose]());

const run = (script: string, env: Record<string, string> = {}) =>
  workspace.bash(`status=0; ${script} || status=$?; echo "status $status"`, { env: { PATH: path, ...env } });

describe("a command that is llmspell's own", () => {
  it.each([
    ["session list", "session list"],
    ["-c my.toml memory search 'two  words'", "-c my.toml memory search two  words"],
    ["--config=my.toml exec 'return 1'", "--config=my.toml exec return 1"],
    ["-p dev --trace info run a.lua -- --x", "-p dev --trace info run a.lua -- --x"],
  ])("%s is handed over, with its words and its status", async (words, given) => {
    const { stdout, stderr } = await run(`llmspell ${words}`);
    expect(stdout.replace(/:\d+:/, ":")).toBe(`other:${given}\nstatus 7\n`);
    expect(stderr).toBe("");
  });

  it("takes the place of our process, so that signals reach it", async () => {
    const { stdout } = await run(`sh -c 'echo $$; exec llmspell session'`);
    const [ours, theirs] = stdout.split("\n");
    expect(theirs).toBe(`other:${ours}:session`);
  });

  it("has the descriptors that a shell hands over", async () => {
    const { stdout } = await run("llmspell session 3<<<'from three'");
    expect(stdout).toMatch(/^other:\d+:session\nfrom three\nstatus 7\n$/);
  });

  it("ends with the signal that ended it where it runs beside us", async () => {
    const fifo = workspace.path("fifo");
    // Its line comes when it has started; the descriptor keeps us beside it.
    const script = `mkfifo ${fifo}; llmspell wait 3</dev/tty0 >${fifo} & read line <${fifo}; kill -TERM $!; wait $!`;
    const { stdout } = await run(`{ ${script.replace("/dev/tty0", workspace.path("bin/llmspell"))}; }`);
    expect(stdout).toBe("status 143\n");
  });

  it("is ours no more than ours is its: storage and database stay here", async () => {
    for (const words of ["storage --help", "database --help", "--help", "help"])
      expect((await run(`llmspell ${words}`)).stdout).toContain("Usage: llmspell");
    expect((await run("llmspell --version")).stdout).toMatch(/^llmspell-storage \d/);
    expect((await run("llmspell-storage session")).stdout).toBe("status 2\n");
  });

  it("is named where no other llmspell is there, in whatever way ours are installed", async () => {
    const shim = workspace.path("shim");
    mkdirSync(shim);
    write(
      "shim/llmspell",
      `#!/bin/sh\nexec node "${workspace.path("first")}/lib/node_modules/llmspell-storage/dist/cli.js" "$@"\n`,
    );
    const node = process.execPath.replace(/\/[^/]+$/, "");
    const PATH = [workspace.path("first/bin"), shim, workspace.path("second/bin"), node, "/usr/bin", "/bin"].join(":");
    const { stdout, stderr } = await run("llmspell session list", { PATH });
    expect(stdout).toBe("status 2\n");
    expect(stderr).toContain("the command session belongs to llmspell itself, which is not on the PATH [E_USAGE]");
  });

  it("does not go round in circles through a wrapper that hides what it calls", async () => {
    mkdirSync(workspace.path("wrapper"));
    write("wrapper/llmspell", '#!/bin/sh\neval "$WRAPPED"\n');
    const first = workspace.path("first/bin/llmspell");
    for (const WRAPPED of [`exec ${first} session`, `${first} session`]) {
      const PATH = [workspace.path("first/bin"), workspace.path("wrapper"), process.env["PATH"]].join(":");
      const { stdout, stderr } = await run("llmspell session", { PATH, WRAPPED });
      expect(stdout).toBe("status 2\n");
      expect(stderr).toContain("belongs to llmspell itself");
    }
  });

  it("can call us again, with the same words or others", async () => {
    mkdirSync(workspace.path("calling"));
    write("calling/llmspell", '#!/bin/sh\n[ "$1" = run ] && { llmspell session; exit $?; }\necho "real:$*"\n');
    const PATH = [workspace.path("first/bin"), workspace.path("calling"), process.env["PATH"]].join(":");
    expect((await run("llmspell run x.lua", { PATH })).stdout).toBe("real:session\nstatus 0\n");
  });
});

it("the commands of ours are those that the program has", () => {
  const program = createProgram(async () => {}, new AbortController().signal);
  const names = program.commands.map((command) => command.name());
  expect([...OWN_COMMANDS].sort()).toEqual([...new Set([...names, "help"])].sort());
});

it("both names are installed", () => {
  const { bin } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { bin: Record<string, string> };
  expect(bin).toEqual({ llmspell: "dist/cli.js", "llmspell-storage": "dist/cli.js" });
});
