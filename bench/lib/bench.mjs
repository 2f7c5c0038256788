// What the cases share: the folder, the server, the data sets, and how many trials.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataSet } from "../data/data-set.mjs";
import { sizes } from "../data/sizes.mjs";
import { Server } from "./server.mjs";

export class Bench {
  /** `scale`: factor of the data sets. `smoke`: the smallest sizes, one trial, no bounds. */
  constructor({ smoke, trials, scale }) {
    this.smoke = smoke;
    this.trials = trials;
    this.scale = scale;
    this.folder = mkdtempSync(join(tmpdir(), "llmspell-bench-"));
    this.sets = new Map();
  }

  log(line) {
    if (!this.smoke) console.log(line);
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

  async close() {
    const server = await this.started?.catch(() => undefined);
    server?.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
