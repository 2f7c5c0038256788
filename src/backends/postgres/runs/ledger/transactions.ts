/** The numbers of transactions, as the ledger has them and as rows do. */
import type { PartRow } from "./ledger.js";

/** xmin as the server shows it: the number's lower half. */
export function xminOf({ transaction }: Pick<PartRow, "transaction">): string {
  return String(transaction & 0xffffffffn);
}
