/** The report of UUIDs that were derived from free text (`--invalid-uuid derive`), the same for every source. */
import type { RunContext } from "../run-context.js";

/** Texts that are told one by one, each once; of the others only how many values there were. */
export const DERIVED_UUIDS_TOLD = 100;
/** Longer texts are cut here in warnings. */
const SHOWN_CHARACTERS = 200;

export class DerivedUuids {
  private readonly told = new Set<string>();
  private values = 0;
  private isComplete = true;

  constructor(private readonly context: Pick<RunContext, "warn">) {}

  /** A value was replaced. `uuid`: canonical, derived from `text`. */
  add(text: string, uuid: string): void {
    this.values++;
    if (this.told.has(uuid)) return;
    if (this.told.size === DERIVED_UUIDS_TOLD) {
      this.isComplete = false;
      return;
    }
    this.told.add(uuid);
    const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
    this.context.warn(`derived UUID ${uuid} from ${JSON.stringify(shown)}`);
  }

  /** To be called when all records were read. */
  finish(): void {
    if (this.values === 0) return;
    const more = this.isComplete ? "" : `; the first ${DERIVED_UUIDS_TOLD} texts are listed above`;
    this.context.warn(`derived ${this.values} UUID${this.values === 1 ? "" : "s"} from free text${more}`);
  }
}

/** What ids are sorted as: the texts that they are, UUIDs whatever their spelling, or these with what free text becomes. */
export type IdOrder = "text" | "uuid" | "derived";
