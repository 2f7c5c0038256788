/** Room on this machine's file systems. */
import { statfsSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** Bytes that are free for this user where the path is, or the nearest folder above it that is there; undefined: unknown. */
export function freeBytesAt(path: string): number | undefined {
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      const { bavail, bsize } = statfsSync(at);
      return bavail * bsize;
    } catch {
      if (at === dirname(at)) return undefined;
    }
  }
}
