/** A PostgreSQL source whose records others read in parts: the snapshot, the plan, and the count of what came. */
import { tableOf } from "../backends/postgres/database/table-names.js";
import { cutKeys, hasRanges } from "../backends/postgres/reading/parts/key-ranges.js";
import { PartSizes } from "../backends/postgres/reading/parts/part-sizes.js";
import { cutRows, type PartRows } from "../backends/postgres/reading/parts/row-parts.js";
import { shareSnapshot } from "../backends/postgres/reading/parts/shared-snapshot.js";
import { requireAllRows } from "../backends/postgres/reading/row-count.js";
import type { SelectOptions } from "../backends/postgres/reading/select.js";
import { tenantLiterals } from "../backends/postgres/reading/tenants.js";
import type { PostgresConnection } from "../backends/postgres/session/connection.js";
import { isOfRow } from "../backends/postgres/session/errors.js";
import type { RecordKind } from "../catalog/index.js";
import type { Part, PartTally } from "../records/parts.js";
import type { RunContext, Selection } from "../records/run-context.js";
import type { PartedSource } from "./source.js";

export interface PostgresPartsOptions {
  readonly connection: PostgresConnection;
  readonly select: SelectOptions;
  /** Begins a reading, and gives the kinds that are there. */
  readonly begin: (selection: Selection, context: RunContext) => Promise<readonly RecordKind[]>;
  /** Bytes of its table, as far as they are not in large objects. */
  readonly bytesOf: (kind: RecordKind) => number;
  /** Whether row-level security binds the role there. */
  readonly isBound: (kind: RecordKind) => boolean;
  /** Bytes of values that a part is to have. */
  readonly partBytes: number;
  /** Tables are not counted. */
  readonly unchecked: boolean;
}

/**
 * To begin a part costs the server and whoever reads it three round trips, and the server does nothing for the reader meanwhile. Two readers
 * can have parts larger than what one of them may be ahead of its turn; of more, all but two would wait.
 */
const FEW_PARTS = 4;

export class PostgresParts implements PartedSource {
  readonly whole: string[] = [];
  /** Kinds that were cut: of others each reader counts its own. */
  private readonly cut = new Map<string, RecordKind>();
  /** Planning and counting share the connection, and settings of its transaction. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: PostgresPartsOptions) {}

  async share(open: (snapshot: object) => Promise<void>): Promise<void> {
    await open(await shareSnapshot(this.options.connection));
  }

  async check(): Promise<void> {
    await this.alone(() => this.options.connection.query("SELECT"));
  }

  async *plan(selection: Selection, context: RunContext, readers?: number): AsyncGenerator<Part> {
    for (const kind of await this.alone(() => this.options.begin(selection, context))) {
      const { path } = kind;
      context.signal.throwIfAborted();
      if (this.isWhole(kind)) {
        yield { path };
        continue;
      }
      this.cut.set(path, kind);
      const { connection, select } = this.options;
      const partBytes = this.options.partBytes * (readers === 2 ? FEW_PARTS : 1);
      const parts = cutRows(connection, kind, selection.tenants, {
        ...{ select, partBytes, tableBytes: this.options.bytesOf(kind) },
      });
      let next = await this.alone(() => this.firstOf(parts));
      if (next === undefined) {
        this.cut.delete(path);
        this.whole.push(`${path}: a page of its table cannot be read`);
        yield { path };
        continue;
      }
      for (; next.done !== true; next = await this.alone(() => parts.next()))
        yield { path, rows: next.value satisfies PartRows };
    }
  }

  /** Undefined where a row that planning looks at cannot be read: whoever reads the kind whole names it, and goes on where that is wished. */
  private async firstOf(parts: AsyncGenerator<PartRows>): Promise<IteratorResult<PartRows> | undefined> {
    const { connection } = this.options;
    await connection.query("SAVEPOINT llmspell_plan");
    try {
      return await parts.next();
    } catch (error) {
      if (!isOfRow(error)) throw error;
      await connection.query("ROLLBACK TO SAVEPOINT llmspell_plan");
      return undefined;
    } finally {
      await connection.query("RELEASE SAVEPOINT llmspell_plan").catch(() => {});
    }
  }

  async *planKeys(
    selection: Selection,
    context: RunContext,
    partBytes: number,
    planned: ReadonlyMap<string, object | undefined> = new Map(),
  ): AsyncGenerator<Part> {
    const { connection, select, bytesOf } = this.options;
    const { tenants } = selection;
    const kinds = (await this.alone(() => this.options.begin(selection, context))).map((kind) => {
      const isWhole = this.isWhole(kind, partBytes) || !hasRanges(kind, tenants, { select });
      return { kind, isWhole, bytes: bytesOf(kind) };
    });
    const sizes = new PartSizes(kinds, partBytes);
    for (const each of sizes.inTurn()) {
      const { kind, isWhole } = each;
      const { path } = kind;
      context.signal.throwIfAborted();
      const behind = planned.get(path) as PartRows | undefined;
      if (planned.has(path) && behind === undefined) continue;
      if (isWhole && behind === undefined) {
        yield { path };
        continue;
      }
      this.cut.set(path, kind);
      const nextBytes = (): number => sizes.next(kind);
      const parts = cutKeys(connection, kind, tenants, { select, partBytes, nextBytes, ...(behind && { behind }) });
      for (;;) {
        const next = await this.alone(() => parts.next());
        if (next.done === true) break;
        yield { path, rows: next.value };
      }
      sizes.end(each);
    }
  }

  async adopt(selection: Selection, context: RunContext): Promise<void> {
    for (const kind of await this.options.begin(selection, context)) this.cut.set(kind.path, kind);
  }

  async requireAll(path: string, came: PartTally, { tenants }: Selection): Promise<void> {
    const { connection, select, unchecked } = this.options;
    const kind = this.cut.get(path);
    if (kind === undefined || unchecked) return;
    const literals = tenantLiterals(connection, tenants);
    const filter = literals === undefined ? {} : { tenants: literals };
    await this.alone(() => requireAllRows(connection, kind, filter, select, came));
  }

  private isWhole(kind: RecordKind, partBytes = this.options.partBytes): boolean {
    const { bytesOf, isBound } = this.options;
    if (isBound(kind)) {
      this.whole.push(`${kind.path}: row-level security shows the rows of ${tableOf(kind).table} tenant by tenant`);
      return true;
    }
    return kind.postgres.largeObject === undefined && bytesOf(kind) <= partBytes;
  }

  /** One behind the other. */
  private alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.last.then(work);
    this.last = done.catch(() => undefined);
    return done;
  }
}
