/** Machines where a folder is missing that programs take for granted: home, working directory, temporary files. */
import { chmodSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { fillSqlite } from "../helpers/sample-data.js";

let workspace: Workspace;

beforeAll(async () => {
  workspace = createWorkspace();
  createLlmspellSqlite(workspace.path("a.db"));
  fillSqlite(workspace.path("a.db"), { records: 2 });
  await workspace.must([
    "storage",
    "export",
    "--database",
    workspace.path("a.db"),
    "--output",
    workspace.path("a.json"),
  ]);
  chmodSync(workspace.folder, 0o777);
  chmodSync(workspace.path("a.db"), 0o666);
});
afterAll(() => workspace[Symbol.dispose]());

const dataOf = (path: string): string => {
  const text = readFileSync(path, "utf8");
  return text.slice(text.indexOf('"data"'), text.lastIndexOf('"manifest"'));
};

async function outcomeOfShell(command: string): Promise<{ status: number; stderr: string }> {
  const { stdout, stderr } = await workspace.bash(`status=0; (${command}) || status=$?; echo "status $status"`);
  return { status: Number(/status (\d+)\n$/.exec(stdout)?.[1]), stderr };
}

/** As a user who is not in the system's list of users, without HOME (docker run --user 12345). */
const asNobody = (command: string) =>
  outcomeOfShell(`setpriv --reuid=12345 --regid=12345 --clear-groups env -i PATH="$PATH" ${command}`);

describe.runIf(process.platform === "linux" && process.getuid?.() === 0)("a user without a home folder", () => {
  it("exports what he names", async () => {
    const outcome = await asNobody(
      `llmspell storage export --database "$PWD/a.db" --output "$PWD/nobody.json" --quiet`,
    );
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    expect(dataOf(workspace.path("nobody.json"))).toBe(dataOf(workspace.path("a.json")));
  });

  it.each(["storage export --output x.json", "storage export --database '~/a.db' --output x.json", "database health"])(
    "is told that %s needs one",
    async (command) => {
      const { status, stderr } = await asNobody(`llmspell ${command}`);
      expect(status).toBe(2);
      expect(stderr).toMatch(/begins with a home folder, and this user has none \[E_USAGE\]\nHint: Set HOME, or name/);
    },
  );
});

describe("a working directory that was deleted", () => {
  const inDeletedFolder = (command: string) => outcomeOfShell(`mkdir gone && cd gone && rmdir ../gone && ${command}`);

  it("is not needed for whole paths", async () => {
    const [database, output] = [workspace.path("a.db"), workspace.path("gone.json")];
    const command = `llmspell storage export --database ${database} --output ${output} --quiet --jq .`;
    expect(await inDeletedFolder(command)).toMatchObject({ status: 0 });
    expect(dataOf(output)).toBe(dataOf(workspace.path("a.json")));
  });

  it.each([
    "--database a.db --output /dev/null",
    "--database '$A' --output a.json",
    "--database '$A' --output - --plugin ./p.mjs",
  ])("is missed with a code by %s", async (words) => {
    const command = `A=${workspace.path("a.db")}; llmspell storage export ${words.replaceAll("'", '"')}`;
    const { status, stderr } = await inDeletedFolder(command);
    expect(status).toBe(2);
    expect(stderr).toMatch(/is a path from the working directory, which does not exist any more \[E_USAGE\]/);
  });
});

describe("a TMPDIR that is not there", () => {
  it("is named by a dry run that needs it", async () => {
    const words = ["--database", workspace.path("new.db"), "--input", workspace.path("a.json"), "--dry-run"];
    const outcome = await workspace.run(["storage", "import", ...words], { env: { TMPDIR: "/nonexistent" } });
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain("a dry run needs a temporary folder in /nonexistent [E_IO]");
    expect(outcome.stderr).toContain("Hint: Set TMPDIR to a folder that can be written.");
  });
});
