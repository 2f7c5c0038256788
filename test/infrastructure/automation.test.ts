/** The examples of automation: their own tools take them, and what they run runs. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as records from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";
import { findTool } from "../helpers/system-packages.js";
import { describeWithTools } from "../helpers/system-tools.js";

const folder = fileURLToPath(new URL("../../examples/automation", import.meta.url));
const example = (name: string): string => `${folder}/${name}`;
const text = (name: string): string => readFileSync(example(name), "utf8");

let workspace: Workspace;
beforeEach(async () => {
  workspace = createWorkspace();
  writeFileSync(workspace.path("in.json"), documentText({ kv_store: [records.kv(1)] }));
  await workspace.must(["storage", "import", "--database", "source.db", "--input", "in.json"]);
});
afterEach(() => workspace[Symbol.dispose]());

const backups = (): string[] => readdirSync(workspace.folder).filter((name) => name.startsWith("backup-"));

/** Runs a command line of an example, its store and folder replaced by the workspace's. */
async function runLine(line: string): Promise<void> {
  const here = line
    .replace("--backend postgres", "--database source.db")
    .replace(/(--output )\S*\//, `$1${workspace.folder}/`)
    .replace(/ >>.*/, "");
  await workspace.bash(here);
}

describeWithTools(["systemd"], "systemd", () => {
  it("takes the units and the timer without a word", () => {
    const units = ["llmspell-backup.service", "llmspell-backup.timer", "llmspell-worker.service"];
    for (const name of units) copyFileSync(example(name), workspace.path(name));
    const { status, stdout, stderr } = spawnSync(findTool("systemd") as string, ["verify", "--man=no", ...units], {
      cwd: workspace.folder,
      encoding: "utf8",
    });
    // Units of the machine itself are none of ours.
    const ours = `${stdout}${stderr}`.split("\n").filter((line) => line.includes("llmspell"));
    expect([ours, status]).toEqual([[], 0]);
  });

  it("reads the timer's calendar", () => {
    const [, calendar = ""] = /OnCalendar=(.*)/.exec(text("llmspell-backup.timer")) ?? [];
    const output = execFileSync(findTool("systemd") as string, ["calendar", calendar], { encoding: "utf8" });
    expect(output).toContain("Normalized form: *-*-* 02:00:00 UTC");
  });
});

it("the unit's command runs, its percent signs as systemd gives them", async () => {
  const [, line = ""] = /ExecStart=(.*)/.exec(text("llmspell-backup.service")) ?? [];
  expect(line.replaceAll("%%", "")).not.toContain("%");
  await runLine(line.replaceAll("%%", "%"));
  expect(backups()).toEqual([expect.stringMatching(/^backup-\d{4}-\d\d-\d\dT\d{6}Z\.json\.zst$/)]);
});

describeWithTools(["logrotate"], "logrotate", () => {
  it("takes the configuration, and rotates the log", () => {
    const config = text("llmspell.logrotate").replace("/var/log/llmspell/*.log", workspace.path("*.log"));
    writeFileSync(workspace.path("logrotate.conf"), config, { mode: 0o644 });
    writeFileSync(workspace.path("backup.log"), "2026-01-01T00:00:00.000Z a line\n");
    const logrotate = findTool("logrotate") as string;
    const state = ["--state", workspace.path("state")];
    const debug = spawnSync(logrotate, ["-d", ...state, "logrotate.conf"], { cwd: workspace.folder, encoding: "utf8" });
    expect([debug.status, debug.stderr.match(/^error:.*/gm)]).toEqual([0, null]);
    expect(debug.stderr).toContain("backup.log");
    execFileSync(logrotate, ["-f", ...state, "logrotate.conf"], { cwd: workspace.folder });
    expect(readFileSync(workspace.path("backup.log.1"), "utf8")).toContain("a line");
    expect(readFileSync(workspace.path("backup.log"), "utf8")).toBe("");
  });
});

it("cron's lines run, their percent signs as cron gives them", async () => {
  const lines = text("llmspell.cron")
    .split("\n")
    .filter((line) => /^\d/.test(line));
  expect(lines).toHaveLength(2);
  for (const line of lines) {
    expect(line.replaceAll("\\%", "")).not.toContain("%");
    const [, command = ""] = /^(?:\S+ ){6}(.*)$/.exec(line) ?? [];
    await runLine(
      command
        .replaceAll("\\%", "%")
        .replace("--from postgres", "--from source.db")
        .replace(/--to \S+/, "--to copy.db"),
    );
  }
  expect(backups()).toHaveLength(1);
  expect(readdirSync(workspace.folder)).toContain("copy.db");
});

describe("the loop", () => {
  const loop = (more: Record<string, string>): Record<string, string> => ({
    LLMSPELL_SQLITE_PATH: workspace.path("source.db"),
    BACKUP_FOLDER: workspace.folder,
    ...more,
  });

  it("exports as often as it is told, and keeps what it is told", async () => {
    await workspace.bash(`sh '${example("backup-loop.sh")}'`, {
      env: loop({ BACKUP_RUNS: "3", BACKUP_SECONDS: "1", BACKUP_KEEP: "2" }),
    });
    expect(backups()).toHaveLength(2);
  });

  it("goes on after a failure, and says so in its status", async () => {
    const failing = workspace.bash(`sh '${example("backup-loop.sh")}'`, {
      env: loop({ LLMSPELL_SQLITE_PATH: "/nowhere/x.db", BACKUP_RUNS: "2", BACKUP_SECONDS: "0" }),
    });
    await expect(failing).rejects.toThrow(/ended with status 3.*E_STORE_NOT_FOUND.*E_STORE_NOT_FOUND/s);
  });

  it("ends at once when it is told to", async () => {
    chmodSync(workspace.path("source.db"), 0o600);
    const child = workspace.startBash(`exec sh '${example("backup-loop.sh")}'`, loop({ BACKUP_SECONDS: "3600" }));
    const outcome = outcomeOf(child);
    while (backups().length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill("SIGTERM");
    expect((await outcome).status).toBe(143);
  });
});
