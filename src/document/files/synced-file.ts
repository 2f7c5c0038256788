/** A file that is written front to back, and is on the disk at the end. */
import type { FileHandle } from "node:fs/promises";
import { writeAll } from "./write-error.js";

/** The disk is asked to take what is written each time so many bytes have come: at the end there is then little to wait for. */
const SYNC_BYTES = 33554432;

export class SyncedFile {
  private unsynced = 0;
  /** Under way; never rejects. */
  private syncing: Promise<void> | undefined;
  /** What the disk reported, which it does once. */
  private syncError: unknown;

  constructor(private readonly handle: FileHandle) {}

  async write(bytes: Buffer): Promise<void> {
    await writeAll(this.handle, bytes);
    this.unsynced += bytes.length;
    if (this.unsynced < SYNC_BYTES || this.syncing !== undefined) return;
    this.unsynced = 0;
    this.syncing = this.handle.datasync().then(
      () => {
        this.syncing = undefined;
      },
      (error: unknown) => {
        this.syncing = undefined;
        this.syncError ??= error;
      },
    );
  }

  /** All that was written is on the disk. Throws what the system reported. */
  async sync(): Promise<void> {
    await this.syncing;
    if (this.syncError !== undefined) throw this.syncError;
    await this.handle.sync();
  }

  /** Nothing is under way any more; never throws. */
  async settle(): Promise<void> {
    await this.syncing;
  }
}
