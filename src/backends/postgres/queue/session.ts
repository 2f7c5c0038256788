/** The queue's session with its server: reached as every server of ours is, and again when it was lost. */
import type pg from "pg";
import type { StorageError } from "../../../errors.js";
import { fromPostgresError } from "../session/errors.js";
import { connectToServer } from "../session/server.js";

export interface QueueConnection {
  readonly url: string;
  readonly connectionTimeoutSeconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Open {
  readonly client: pg.Client;
  close(): Promise<void>;
}

/** What pg-boss runs its statements by (its Db, whose types no consumer can compile): one connection, whose results are as pg gives them. */
export class QueueSession {
  private opened: Promise<Open> | undefined;
  private isClosed = false;
  private channel: string | undefined;
  private readonly waiting = new Set<() => void>();
  /** One statement behind the other. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: QueueConnection) {}

  // biome-ignore lint/suspicious/noExplicitAny: pg-boss's own type
  executeSql(text: string, values: unknown[] = []): Promise<{ rows: any[] }> {
    const done = this.last.then(() => this.run(text, values));
    this.last = done.catch(() => {});
    return done;
  }

  /** From now on `notified` hears what is told on the channel. */
  async hear(channel: string): Promise<void> {
    this.channel = channel;
    await this.executeSql(`LISTEN ${channel}`);
  }

  /** Until something is told, or so long. The session may have been lost meanwhile: nothing relies on it. */
  async notified(milliseconds: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", resolve as () => void, { once: true });
    this.waiting.add(resolve);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", resolve as () => void);
      this.waiting.delete(resolve);
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: the same
  private async run(text: string, values: unknown[]): Promise<{ rows: any[] }> {
    this.opened ??= this.open();
    const opening = this.opened;
    try {
      const { client } = await opening;
      return await client.query(text, values);
    } catch (error) {
      const known = fromPostgresError(error);
      if (known.code.startsWith("E_CONNECT") && this.opened === opening) {
        this.opened = undefined;
        opening.then(({ client }) => client.end()).catch(() => {});
      }
      throw error;
    }
  }

  private async open(): Promise<Open> {
    const { url, connectionTimeoutSeconds: seconds = 30, signal } = this.options;
    const attempt = { deadline: Date.now() + seconds * 1000, seconds, signal, onWait: undefined };
    return connectToServer(url, { application_name: "llmspell-storage queue" }, attempt, async (client) => {
      // The statement at hand reports a broken connection; without a listener it would end the process as well.
      client.on("error", () => {});
      client.on("notification", () => {
        for (const wake of this.waiting) wake();
      });
      await client.connect();
      if (this.channel !== undefined) await client.query(`LISTEN ${this.channel}`);
      return { client, close: () => client.end().catch(() => {}) };
    });
  }

  /** What a statement of the queue failed for. */
  static errorOf(error: unknown): StorageError {
    return fromPostgresError(error);
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    const { opened } = this;
    if (opened === undefined) return;
    await opened.then((open) => open.close()).catch(() => {});
  }
}
