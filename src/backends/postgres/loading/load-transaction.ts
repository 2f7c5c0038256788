/** The one transaction of a load: it commits or rolls back, and survives a statement that the server refuses because of a record. */
import { StorageError } from "../../../errors.js";
import type { PostgresConnection } from "../session/connection.js";
import { postgresCause } from "../session/errors.js";
import { beginTransaction } from "../session/transaction.js";

/** Data exceptions, integrity violations, program limits: a record's fault, whichever it is. */
const RECORD_CLASSES: ReadonlySet<string> = new Set(["22", "23", "54"]);

/** Whether an error of the server is about the data of a statement rather than about the statement or the server. */
export function isRecordError(error: unknown): error is StorageError {
  const state = postgresCause(error)?.sqlState;
  if (state === undefined) return false;
  // A row that the role's policies refuse has the SQLSTATE of a missing right; SQL_ASCII refuses an escape as a feature.
  const { code } = error as StorageError;
  return RECORD_CLASSES.has(state.slice(0, 2)) || code === "E_ROW_SECURITY" || code === "E_ENCODING";
}

const BEGIN_ATTEMPT = "RELEASE SAVEPOINT attempt; SAVEPOINT attempt";

type Outcome<Result> = { readonly value: Result } | { readonly error: StorageError };

export class LoadTransaction {
  private ended = false;
  private underWay: Promise<void> = Promise.resolve();

  constructor(readonly connection: PostgresConnection) {}

  async begin(): Promise<void> {
    await beginTransaction(this.connection, "write");
    await this.connection.query("SET LOCAL client_min_messages = 'warning'; SAVEPOINT attempt");
  }

  /**
   * Runs statements that a record may make fail: then their effect, and nothing else, is undone, and the error is given;
   * so is any other that is `expected`. Not to be nested.
   */
  async attempt<Result>(
    work: () => Promise<Result>,
    expected: (error: StorageError) => boolean = () => false,
  ): Promise<Outcome<Result>> {
    await this.connection.query(BEGIN_ATTEMPT);
    return this.outcome(work, expected);
  }

  /**
   * `attempt` of a COPY, all in one message: while an answer is awaited before it, the next batch is decoded, and the server
   * idles. The server must be known to take the statement: one that it cannot parse would undo the attempt before.
   */
  attemptCopy(sql: string, data: Buffer): Promise<Outcome<number>> {
    return this.outcome(() => this.connection.copyFrom(`${BEGIN_ATTEMPT}; ${sql}`, data));
  }

  private async outcome<Result>(
    work: () => Promise<Result>,
    expected: (error: StorageError) => boolean = () => false,
  ): Promise<Outcome<Result>> {
    try {
      return { value: await work() };
    } catch (error) {
      if (!isRecordError(error) && !(error instanceof StorageError && expected(error))) throw error;
      await this.connection.query("ROLLBACK TO SAVEPOINT attempt");
      return { error };
    }
  }

  /** Lets work go on while the caller does something else. No other statement may be sent before `settled`. */
  proceed(work: Promise<void>): void {
    this.underWay = work;
    // Who waits for it is told; an error that nobody waits for belongs to a run that failed already.
    work.catch(() => {});
  }

  /** Waits for the work that is under way; rejects with its error. */
  settled(): Promise<void> {
    return this.underWay;
  }

  async commit(): Promise<void> {
    const { command } = await this.connection.query("COMMIT").catch(async (error: StorageError) => {
      // A server that ends for want of room may have committed before: then nobody answers any more.
      const isLost = error.code === "E_CONNECTION_LOST" || (await this.isGone());
      throw isLost ? outcomeUnknown(error) : error;
    });
    this.ended = true;
    // The server answers a COMMIT of a failed transaction with ROLLBACK, and no error.
    if (command !== "COMMIT") throw new StorageError("E_UNEXPECTED", "the server rolled the transaction back");
  }

  private isGone(): Promise<boolean> {
    return this.connection.query("ROLLBACK").then(
      () => false,
      () => true,
    );
  }

  /** Repeatable. */
  async rollback(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    await this.underWay.catch(() => {});
    await this.connection.query("ROLLBACK");
  }
}

/** Nobody was told whether the server committed before the connection broke. */
function outcomeUnknown({ context, cause }: StorageError): StorageError {
  return new StorageError(
    "E_CONNECTION_LOST",
    "the connection broke while the server was committing: the target may have all of the records, or none",
    {
      ...context,
      hint: "Run the import again: it changes nothing where the records are there. The server's log says why it went: a stop, a crash, a disk that is full (that of pg_wal, too).",
      outcomeUnknown: true,
    },
    cause,
  );
}
