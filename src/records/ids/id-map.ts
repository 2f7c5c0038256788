/** Which ids the UUIDs of a PostgreSQL database stand for (`--id-map FILE`). */

/** One use: open it, add ids and save, or find ids; close. */
export interface IdMap {
  /** Reads the file. E_INPUT_NOT_FOUND (unless ids will be added), E_OUTPUT_EXISTS, E_DOCUMENT_SHAPE, E_DOCUMENT_TRUNCATED. */
  open(): Promise<void>;
  /** The UUID (in its usual spelling) stands for the id wherever the domain's ids are (catalog/index.ts, idDomain). */
  add(domain: string, uuid: string, id: string): void;
  /** The id that the UUID stands for; undefined where that is not known. */
  find(domain: string, uuid: string): string | undefined;
  /** Writes the file: durable when it resolves. Gives the number of UUIDs that stand for more than one id each. */
  save(): Promise<number>;
  /** Idempotent; never throws. */
  close(): void;
}
