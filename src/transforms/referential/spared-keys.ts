/** Keys of records that the source has and the target did not get: rows of the target that may be theirs are not pruned. */
import type { Catalog, RecordKind } from "../../catalog/index.js";
import type { Spared } from "../../records/run-context.js";
import { RejectedKeys } from "./rejected-keys.js";

export class SparedKeys implements Spared {
  private readonly keys: RejectedKeys;
  private readonly unclear = new Set<string>();

  /** `keysStay`: a record's key in the target is the one that it is rejected with, but for the spelling of UUIDs. */
  constructor(
    catalog: Catalog,
    private readonly keysStay: boolean,
  ) {
    this.keys = new RejectedKeys(new Set(catalog.byPath.keys()));
  }

  /** `key` as describeKey gives it. E_DISK_FULL, E_IO. */
  async add(kind: RecordKind, key: string): Promise<void> {
    const isCut = /=\?|… \(SHA-256 /.test(key);
    // Of its natural keys nothing is known.
    if (!this.keysStay || isCut || kind.uniqueKeys.length > 0) this.unclear.add(kind.path);
    await this.keys.add(kind.path, folded(key));
  }

  hasAny(path: string): boolean {
    return this.keys.hasAny(path);
  }

  isUnclear(path: string): boolean {
    return this.unclear.has(path);
  }

  has(path: string, key: string): boolean {
    return this.keys.has(path, folded(key));
  }

  close(): Promise<void> {
    return this.keys.close();
  }
}

/** The same for all spellings of a UUID; that others are the same, too, spares too much only. */
function folded(key: string): string {
  return key.toLowerCase().replaceAll("-", "");
}
