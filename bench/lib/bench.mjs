// What the cases share: the folder, the server, the data sets, and how many trials.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataSet } from "../data/data-set.mjs";
import { sizes } from "../data/sizes.mjs";
import { llmspell, must } from "./measure.mjs";
import { Server } from "./server.mjs";

export class Bench {
  /**
   * `scale`: factor of the data sets. `smoke`: the smallest sizes, one trial, no bounds. `against`: another checkout of ours,
   * built, whose commands run by turns with these instead of the peers.
   */
  constructor({ smoke, trials, scale, against }) {
    this.smoke = smoke;
    this.trials = trials;
    this.scale = scale;
    /** Whether the figures go to RESULTS.md. */
    this.keep = !smoke && scale === 1 && against === undefined;
    this.against = against;
    this.comparisons = [];
    this.folder = mkdtempSync(join(tmpdir(), "llmspell-bench-"));
    this.sets = new Map();
  }

  log(line) {
    if (!this.smoke) console.log(line);
  }

  /** Told at the end: this checkout's time and CPU by the other's. */
  compare(name, ours, theirs) {
    const cells = ["seconds", "cpu", "megabytes"].map(
      (field) =>
        `${ours[field].toFixed(2)} / ${theirs[field].toFixed(2)} = ${(ours[field] / theirs[field]).toFixed(3)}`,
    );
    this.comparisons.push([`${this.case}: ${name}`, ...cells, ours.trials]);
  }

  path(name) {
    return join(this.folder, name);
  }

  server() {
    this.started ??= Server.start();
    return this.started;
  }

  /** `standard`, … at `factor` of its size, shared by the cases of a run. */
  dataSet(name, factor = 1) {
    const key = factor === 1 ? name : `${name}_${String(factor).replace(".", "_")}`;
    if (!this.sets.has(key)) this.sets.set(key, new DataSet(this, key, sizes(name, factor * this.scale)));
    return this.sets.get(key);
  }

  /** The name of an empty database with the whole schema and the monthly partitions that the events need: a template. */
  emptyPostgres() {
    this.empty ??= this.makeEmptyPostgres("bench_empty");
    return this.empty;
  }

  async makeEmptyPostgres(name) {
    const server = await this.server();
    await server.create(name);
    must(llmspell("database", "migrate", "--database", server.url(name)));
    await server.sql(
      `SELECT llmspell.create_event_log_partition(month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC')
       FROM generate_series('2025-02-01'::timestamp, '2025-10-01', '1 month') AS month`,
      name,
    );
    return name;
  }

  async close() {
    const server = await this.started?.catch(() => undefined);
    server?.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
