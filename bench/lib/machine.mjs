// Where and when: for RESULTS.md. And the programs that stand beside us.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { delimiter, join } from "node:path";
import { root } from "./measure.mjs";

export function circumstances() {
  const date = new Date().toISOString().slice(0, 10);
  const [cpu] = cpus();
  return `${date}, Node ${process.version}, ${cpus().length} × ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB RAM`;
}

/** Programs by the Debian packages that bring them. */
const PACKAGES = {
  "/usr/bin/time": "time",
  gzip: "gzip",
  zstd: "zstd",
  jq: "jq",
  sqlite3: "sqlite3",
  pigz: "pigz",
  ogr2ogr: "gdal-bin",
  pgloader: "pgloader",
  pgcopydb: "pgcopydb",
};

export function available(program) {
  const folders = (process.env.PATH ?? "").split(delimiter);
  return program.startsWith("/") ? existsSync(program) : folders.some((folder) => existsSync(join(folder, program)));
}

/** Installs what is missing where this is root on a Debian-like machine. A smoke run does with what is there. */
export function installPeers(smoke) {
  if (process.getuid?.() !== 0) return;
  const wanted = Object.entries(PACKAGES).filter(([, name]) => !smoke || name === "time");
  // One by one: one may not be had.
  for (const [program, name] of wanted) {
    if (available(program)) continue;
    spawnSync("sh", [join(root, "scripts/install-test-tools.sh"), name], { stdio: ["ignore", "ignore", "inherit"] });
  }
}

/** `name version` of each peer, for RESULTS.md. */
export function peerVersions() {
  const first = (command, ...args) => spawnSync(command, args, { encoding: "utf8" }).stdout?.split("\n")[0] ?? "";
  return [
    first("pg_dump", "--version"),
    available("sqlite3") ? `sqlite3 ${first("sqlite3", "--version").split(" ")[0]}` : "",
    available("jq") ? first("jq", "--version") : "",
    available("gzip") ? first("gzip", "--version") : "",
    available("pigz") ? first("sh", "-c", "pigz --version 2>&1") : "",
    available("zstd")
      ? first("zstd", "-V")
          .replace(/[*\s]*Zstandard.*?v/, "zstd ")
          .replace(/,.*/, "")
      : "",
    available("ogr2ogr") ? first("ogr2ogr", "--version").replace(/,.*/, "") : "",
    available("pgcopydb") ? `pgcopydb ${first("pgcopydb", "--version").replace(/.*version /, "")}` : "",
    available("pgloader") ? first("pgloader", "--version") : "",
  ].filter((text) => text !== "");
}
