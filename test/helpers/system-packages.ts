import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Programs that tests run beside the tool, as users do, by the names of their Debian packages. */
const PROGRAMS = {
  jq: "jq",
  gzip: "gzip",
  zstd: "zstd",
  sqlite3: "sqlite3",
  time: "time",
  pgbouncer: "pgbouncer",
  openssl: "openssl",
  "xz-utils": "xz",
  bzip2: "bzip2",
  zip: "zip",
  unzip: "unzip",
  // A file system without hard links and modes.
  "exfat-fuse": "mount.exfat-fuse",
  exfatprogs: "mkfs.exfat",
  zsh: "zsh",
  fish: "fish",
  mandoc: "mandoc",
  chromium: "chromium",
} as const;

export type SystemTool = keyof typeof PROGRAMS;

export const systemTools = Object.keys(PROGRAMS) as SystemTool[];

/**
 * Runs one of the project's install scripts, which install Debian packages.
 * @throws {Error} with the end of the script's output
 */
export function runInstallScript(name: string, ...args: string[]): void {
  const script = fileURLToPath(new URL(`../../scripts/${name}`, import.meta.url));
  process.stderr.write(`test set-up: scripts/${[name, ...args].join(" ")}\n`);
  const result = spawnSync("sh", [script, ...args], {
    cwd: "/",
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 900_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.status === 0) return;
  const output = `${result.stdout ?? ""}${result.stderr ?? ""}${result.error?.message ?? ""}`;
  throw new Error(`scripts/${name} failed:\n${output.slice(-2000)}`);
}

/** Where the program is; servers' are outside of the PATH of users. */
export function findTool(tool: SystemTool): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders.map((folder) => join(folder, PROGRAMS[tool])).find((path) => existsSync(path));
}

function findMissingTools(): SystemTool[] {
  return systemTools.filter((tool) => findTool(tool) === undefined);
}

/** Installs the missing tools where this is root on a Debian-like machine; returns those that are missing all the same. */
export function installMissingTools(): SystemTool[] {
  const missing = findMissingTools();
  if (missing.length === 0 || process.getuid?.() !== 0) return missing;
  try {
    runInstallScript("install-test-tools.sh", ...missing);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
  }
  return findMissingTools();
}
