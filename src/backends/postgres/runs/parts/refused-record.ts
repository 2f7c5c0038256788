/** Which record of a part the server has refused: one COPY says no more than that something was. */
import { StorageError } from "../../../../errors.js";
import type { RunContext } from "../../../../records/run-context.js";
import type { TargetTable } from "../../database/target-table.js";
import { isRecordError, LoadTransaction } from "../../loading/load-transaction.js";
import { TableLoader } from "../../loading/table-loader.js";
import type { PostgresConnection } from "../../session/connection.js";
import { postgresCause } from "../../session/errors.js";
import type { Stage } from "../merging/stages.js";
import { LOAD_SETTINGS } from "./load-settings.js";
import type { Part } from "./part-cutter.js";

export interface RefusedPart {
  readonly connection: PostgresConnection;
  readonly context: RunContext;
  readonly table: TargetTable;
  readonly part: Part;
  /** Where the part waits to be merged. */
  readonly stage?: Stage | undefined;
  /** Others have rows in the table, too. */
  readonly isAmongOthers?: boolean;
}

/** The error that names the record, where it is a record's: the part is loaded once more, and rolled back. */
export async function explainRefused(
  error: unknown,
  { connection, context: runContext, table, part, stage, isAmongOthers }: RefusedPart,
): Promise<unknown> {
  const isDeadlock = postgresCause(error)?.sqlState === "40P01";
  if (!isRecordError(error) && !isDeadlock) return error;
  // Those of others would be found first.
  if (isAmongOthers === true && postgresCause(error)?.sqlState !== "23505") return error;
  let refused: StorageError | undefined;
  const context: RunContext = {
    ...runContext,
    async reject(rejection) {
      refused ??= rejection.error;
      throw rejection.error;
    },
  };
  const transaction = new LoadTransaction(connection);
  try {
    await transaction.begin();
    await connection.query(LOAD_SETTINGS);
    const options = { transaction, context, method: "copy", direct: true, deferIndexes: "never", number: 0 } as const;
    await TableLoader.findRefused(table, { ...options, application: undefined }, part.encoder, stage?.name);
  } catch {
    // What was not found out leaves the first error.
  } finally {
    await transaction.rollback().catch(() => {});
  }
  const found = refused as StorageError | undefined;
  if (found?.code !== "E_KEY_CONFLICT") return found ?? error;
  const { message, context: where, cause } = found;
  const detail = `${where.detail ?? ""}; it may be one that others have added or changed meanwhile`;
  return new StorageError(
    "E_KEY_CONFLICT",
    message.replace("two records of the run", "two records"),
    {
      ...where,
      detail,
      hint: "Delete or change the one of them that should not be, then resume the run; or undo it.",
    },
    cause,
  );
}
