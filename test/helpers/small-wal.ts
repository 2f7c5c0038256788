/** A PostgreSQL server whose WAL has a small file system of its own: when that is full, the server ends, and does not come up again. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type PostgresCluster, startPostgresCluster } from "./postgres-cluster.js";
import { query } from "./runs.js";
import { mountSmall, type SmallDisk } from "./small-disk.js";

// No checkpoint makes room meanwhile, and no segments are kept from before.
const SETTINGS = "max_wal_size = 10GB\nmin_wal_size = 2MB\nwal_recycle = off\ncheckpoint_timeout = 1h\n";

export interface SmallWal extends Disposable {
  readonly cluster: PostgresCluster;
  /** From now on there is room for so many KiB of it (and what is left of a segment of 1 MB). */
  fill(kibibytesLeft: number): Promise<void>;
  /** Makes room, and starts the server again. */
  restart(): void;
}

/** Where `canMount`. */
export async function startWithSmallWal(megabytes: number): Promise<SmallWal> {
  const small = mountSmall(megabytes) as SmallDisk;
  try {
    const wal = join(small.folder, "wal");
    mkdirSync(wal);
    const cluster = await startPostgresCluster({ wal, settings: SETTINGS });
    return {
      cluster,
      async fill(kibibytesLeft) {
        await query(cluster.url, "CHECKPOINT");
        small.fill(kibibytesLeft);
      },
      restart() {
        rmSync(join(small.folder, "ballast"), { force: true });
        cluster.restart();
      },
      [Symbol.dispose]() {
        cluster.stop();
        small[Symbol.dispose]();
      },
    };
  } catch (error) {
    small[Symbol.dispose]();
    throw error;
  }
}
