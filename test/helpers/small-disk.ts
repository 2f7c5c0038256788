/** File systems of a few megabytes, for tests of full and read-only disks. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Whether the program ended with status 0. */
export function command(...words: string[]): boolean {
  return spawnSync(words[0] as string, words.slice(1), { stdio: "ignore", timeout: 20_000 }).status === 0;
}

export interface SmallDisk extends Disposable {
  readonly folder: string;
  /** Writes a file that leaves only so many KiB. */
  fill(kibibytesLeft: number): void;
  readOnly(): void;
}

/** Mounts a small file system; undefined where this machine does not permit it (no root, a container without the right). */
export function mountSmall(megabytes: number): SmallDisk | undefined {
  const folder = mkdtempSync(join("/tmp", "llmspell-small-"));
  if (!command("mount", "-t", "tmpfs", "-o", `size=${megabytes}m,mode=0755`, "tmpfs", folder)) {
    rmSync(folder, { recursive: true, force: true });
    return undefined;
  }
  return {
    folder,
    fill: (kibibytesLeft) => {
      const { bavail, bsize } = statfsSync(folder);
      writeFileSync(join(folder, "ballast"), Buffer.alloc(Math.max(0, bavail * bsize - kibibytesLeft * 1024)));
    },
    readOnly: () => void command("mount", "-o", "remount,ro", folder),
    [Symbol.dispose]: () => {
      command("umount", "-l", folder);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const probe = mountSmall(1);
/** Else the tests that need it are skipped, in red. */
export const canMount = probe !== undefined;
probe?.[Symbol.dispose]();
if (!canMount)
  process.stderr.write("\u001b[31mSKIPPED: full and read-only file systems (mounting one needs root)\u001b[0m\n");

/** Mounts an empty exFAT, which has neither hard links nor modes; undefined where this machine does not permit it. */
export function mountExfat(): SmallDisk | undefined {
  const folder = mkdtempSync(join("/tmp", "llmspell-exfat-"));
  const image = `${folder}.img`;
  const mounted =
    command("truncate", "-s", "64M", image) &&
    command("/usr/sbin/mkfs.exfat", image) &&
    // The loop device goes away with its mount.
    command(
      "sh",
      "-c",
      `loop=$(losetup -f --show ${image}) && /usr/sbin/mount.exfat-fuse $loop ${folder} && losetup -d $loop`,
    );
  const remove = (): void => {
    command("umount", "-l", folder);
    rmSync(folder, { recursive: true, force: true });
    rmSync(image, { force: true });
  };
  if (!mounted) {
    remove();
    return undefined;
  }
  return { folder, fill: () => {}, readOnly: () => {}, [Symbol.dispose]: remove };
}
