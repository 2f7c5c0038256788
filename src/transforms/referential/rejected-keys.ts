/** The keys of a run's rejected parents, looked up while they still come: in bounded memory, however many there are. */
import { hash } from "node:crypto";
import { KEY_DIGEST_BYTES } from "../../records/key-digest.js";
import type { KeySet } from "../key-set.js";

/** Keys that wait to be a set: some 4 MB. */
const RECENT_KEYS = 32768;
/** So many sets are made one, of which KeyCollector moves a large one to a file. */
const SETS = 8;

export class RejectedKeys {
  private readonly paths = new Set<string>();
  private recent = new Set<string>();
  private sets: KeySet[] = [];

  /** `parents`: the paths of the kinds whose keys are kept. */
  constructor(private readonly parents: ReadonlySet<string>) {}

  /** `key` as describeKey gives it. E_DISK_FULL, E_IO. */
  async add(path: string, key: string): Promise<void> {
    if (!this.parents.has(path)) return;
    this.paths.add(path);
    this.recent.add(digestOf(path, key));
    if (this.recent.size < RECENT_KEYS) return;
    const { KeyCollector } = await import("../key-set.js");
    const collector = new KeyCollector();
    for (const digest of this.recent) collector.add(Buffer.from(digest, "latin1"));
    this.recent = new Set();
    this.sets.push(await collector.finish());
    if (this.sets.length === SETS) await this.merge();
  }

  /** Whether any record of the kind was rejected. */
  hasAny(path: string): boolean {
    return this.paths.has(path);
  }

  has(path: string, key: string): boolean {
    if (!this.paths.has(path)) return false;
    const digest = digestOf(path, key);
    if (this.recent.has(digest)) return true;
    const bytes = Buffer.from(digest, "latin1");
    return this.sets.some((set) => set.has(bytes));
  }

  async close(): Promise<void> {
    for (const set of this.sets.splice(0)) await set.close();
  }

  private async merge(): Promise<void> {
    const { KeyCollector } = await import("../key-set.js");
    const collector = new KeyCollector();
    for (const set of this.sets.splice(0)) {
      await set.addTo(collector);
      await set.close();
    }
    this.sets.push(await collector.finish());
  }
}

function digestOf(path: string, key: string): string {
  return hash("sha256", `${path}\n${key}`, "binary").slice(0, KEY_DIGEST_BYTES);
}
