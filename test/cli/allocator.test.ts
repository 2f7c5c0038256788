/** What the process of a command is started with, as a plugin in it sees it. */
import { fork, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, outcomeOf, WITH_ALLOCATOR } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { fresh, read, source, usePluginFixture } from "./plugin-fixture.js";

usePluginFixture();

const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));

/** The settings and the process of an export from `database`, and the process that was started. `forked`: with a channel. */
async function exportFrom(database: string, env: Record<string, string> = {}, forked = false, ...words: string[]) {
  const [path, told, output] = [fresh(".mjs"), fresh(".told"), fresh(".json")];
  writeFileSync(
    path,
    `import { writeFileSync } from "node:fs";
     const settings = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith("MALLOC_")));
     writeFileSync(${JSON.stringify(told)}, JSON.stringify({ settings, pid: process.pid }));
     export default { name: "told", transform: (record) => record };`,
  );
  using workspace = createWorkspace({ ...WITH_ALLOCATOR, ...env });
  const args = ["storage", "export", "--database", database, "--output", output, "--plugin", path, ...words];
  const child = forked
    ? fork(cli, args, { cwd: workspace.folder, env: { HOME: workspace.folder }, silent: true })
    : workspace.start(args);
  expect(await outcomeOf(child)).toMatchObject({ status: 0 });
  const { settings, pid } = JSON.parse(read(told)) as { settings: Record<string, string>; pid: number };
  return { settings, isSameProcess: pid === child.pid };
}

describe.runIf(process.platform === "linux")("the settings of the allocator", () => {
  it("are made for SQLite, in the process that was started, so that signals reach it", async () => {
    const settings = {
      MALLOC_ARENA_MAX: "1",
      MALLOC_MMAP_THRESHOLD_: "262144",
      MALLOC_TRIM_THRESHOLD_: "2097152",
    };
    expect(await exportFrom(source)).toEqual({ settings, isSameProcess: true });
  });

  it("have a heap for each thread that reads", async () => {
    for (const [words, heaps] of [
      [["--jobs", "3"], "3"],
      [["--jobs=2"], "2"],
      [["--jobs", "auto"], `${availableParallelism()}`],
    ] as const)
      expect((await exportFrom(source, {}, false, ...words)).settings["MALLOC_ARENA_MAX"]).toBe(heaps);
  });

  it("are not made under a parent that talks to its child, which a new start would cut off", async () => {
    expect(await exportFrom(source, {}, true)).toEqual({ settings: {}, isSameProcess: true });
  });

  it("are left to whoever makes one of them", async () => {
    const settings = { MALLOC_TRIM_THRESHOLD_: "1000000" };
    expect(await exportFrom(source, settings)).toEqual({ settings, isSameProcess: true });
  });
});

describe.runIf(process.platform === "linux")("a descriptor that the parent hands over", () => {
  /** Runs the command with `path` open as descriptor `number`, as `3<file` of a shell does. */
  async function withDescriptor(number: number, path: string, flags: "r" | "w", args: string[]) {
    using workspace = createWorkspace(WITH_ALLOCATOR);
    const fd = openSync(path, flags);
    const stdio = [
      "ignore",
      "pipe",
      "pipe",
      ...Array.from({ length: number - 3 }, () => "ignore" as const),
      fd,
    ] as const;
    const child = spawn(process.execPath, [cli, ...args], {
      cwd: workspace.folder,
      env: { HOME: workspace.folder, PATH: process.env["PATH"] },
      stdio: [...stdio],
    });
    const outcome = await outcomeOf(child);
    closeSync(fd);
    return outcome;
  }

  const names = [
    ["/dev/fd/3", 3],
    ["/dev/fd/12", 12],
    ["/proc/self/fd/12", 12],
  ] as const;

  it.each(names)("is read where the input is %s", async (name, number) => {
    const [document, target, again] = [fresh(".json"), fresh(".db"), fresh(".json")];
    using workspace = createWorkspace();
    await workspace.must(["storage", "export", "--database", source, "--output", document]);
    const args = ["storage", "import", "--database", target, "--input", name, "--no-progress"];
    expect(await withDescriptor(number, document, "r", args)).toMatchObject({ status: 0, stderr: "" });
    await workspace.must(["storage", "export", "--database", target, "--output", again]);
    expect(dataOf(again)).toBe(dataOf(document));
  });

  it.each(names)("is written where the output is %s", async (name, number) => {
    const [document, written] = [fresh(".json"), fresh(".json")];
    using workspace = createWorkspace();
    await workspace.must(["storage", "export", "--database", source, "--output", document]);
    const args = ["storage", "export", "--database", source, "--output", name, "--quiet"];
    expect(await withDescriptor(number, written, "w", args)).toMatchObject({ status: 0, stderr: "" });
    expect(dataOf(written)).toBe(dataOf(document));
  });

  it("reaches a plugin that knows of it", async () => {
    const [path, told, output] = [fresh(".mjs"), fresh(".told"), fresh(".json")];
    writeFileSync(
      path,
      'import { writeSync } from "node:fs"; writeSync(5, "told"); export default { name: "p", transform: (r) => r };',
    );
    const args = ["storage", "export", "--database", source, "--output", output, "--plugin", path];
    expect(await withDescriptor(5, told, "w", args)).toMatchObject({ status: 0 });
    expect(read(told)).toBe("told");
  });
});

/** The bytes of a document's data. */
function dataOf(path: string): string {
  const text = readFileSync(path, "utf8");
  return text.slice(text.indexOf('"data"'), text.lastIndexOf('"manifest"'));
}

describePostgres("the settings of the allocator, PostgreSQL alone", () => {
  it("are not made", async () => {
    const database = await createDatabase("llmspell");
    try {
      expect(await exportFrom(database.url)).toEqual({ settings: {}, isSameProcess: true });
    } finally {
      await database.drop();
    }
  });
});
