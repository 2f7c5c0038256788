/** `--mask SECTION.PATH=METHOD`: hides values; drops nothing, and changes nothing else (docs/transforms.md). */
import { createHash } from "node:crypto";
import { type Catalog, fieldIndex } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import { BatchEditor } from "../../records/batch-editor.js";
import { NULL_VALUE, type RecordBatch } from "../../records/record-batch.js";
import { effectOf, settleMask } from "../effect.js";
import type { Transform } from "../transform.js";
import { JsonTargets } from "./json-targets.js";
import { createTokenMask, createValueMask, type Method, parseMethod } from "./method.js";
import { type MaskedField, parseMaskPath } from "./path.js";

export interface MaskSettings {
  readonly catalog: Catalog;
  /** Where keys are found. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** No record need have the path. */
  readonly optional: boolean;
}

/**
 * Masks a field's value of one row: `[start, start + length)` of the batch's bytes, which is not NULL. Gives whether the
 * value has the path.
 */
type RowMask = (editor: BatchEditor, batch: RecordBatch, row: number, start: number, length: number) => boolean;

/**
 * E_USAGE: the rule is not understood, or the method does not fit the field. E_CONFIG: no key. At the end of its records:
 * E_NO_EFFECT.
 */
export function createMask(rule: string, { catalog, environment, optional }: MaskSettings): Transform {
  const at = rule.lastIndexOf("=");
  if (at < 1) {
    throw new StorageError("E_USAGE", `--mask ${rule}: expected SECTION.PATH=METHOD`, {
      hint: "For instance sessions.session_data.email=hash.",
    });
  }
  const fields = parseMaskPath(rule.slice(0, at), catalog);
  const method = parseMethod(rule.slice(at + 1), environment);
  const masks = new Map(fields.map((field) => [field.kind.path, { field, mask: createRowMask(field, method) }]));
  const name = `${optional ? "mask-optional" : "mask"} ${rule}`;
  const paths = [...masks.keys()];
  return {
    name,
    mayDrop: () => false,
    mayChange(path, changed) {
      const kind = masks.get(path)?.field;
      return kind !== undefined && (changed === undefined || kind.field.name === changed);
    },
    async *apply(batches, context) {
      const editor = new BatchEditor();
      const effect = effectOf(context);
      for await (const batch of batches) {
        const found = masks.get(batch.kind.path);
        if (found === undefined) {
          yield batch;
          continue;
        }
        const { index } = found.field;
        const { rows, width, starts, lengths } = batch;
        const isField = hasAllOf(found.field);
        effect.records += rows;
        if (isField) effect.hits += rows;
        editor.begin(batch);
        for (let row = 0, cell = index; row < rows; row++, cell += width) {
          if (lengths[cell] === NULL_VALUE) continue;
          const hit = found.mask(editor, batch, row, starts[cell] as number, lengths[cell] as number);
          if (hit && !isField) effect.hits++;
        }
        yield editor.finish() as RecordBatch;
      }
      settleMask(effect, { name, paths, optional }, context);
    },
  };
}

/** What every record has, be it NULL or empty: the field as a whole, and the elements of a text array. */
function hasAllOf({ field, within }: MaskedField): boolean {
  return within.length === 0 || field.type === "text_array";
}

/** A digest of the text beside it would let it be guessed: where the mask changes the text, the digest is the new one's. */
function createRowMask(masked: MaskedField, method: Method): RowMask {
  const mask = createFieldMask(masked, method);
  const { kind, field } = masked;
  const digest = kind.sqlite.layout === "table" ? kind.sqlite.textDigest : undefined;
  if (digest?.of !== field.name) return mask;
  const digestIndex = fieldIndex(kind, digest.field);
  return (editor, batch, row, start, length) => {
    const { arena } = editor;
    const from = arena.length;
    const hit = mask(editor, batch, row, start, length);
    const before = batch.bytes.subarray(start, start + length);
    const after = arena.view().subarray(from);
    if (after.length === 0 || after.equals(before)) return hit;
    const hash = createHash("sha256").update(after).digest("hex");
    const at = arena.length;
    arena.latin1(hash);
    editor.set(row, digestIndex, at);
    return hit;
  };
}

function createFieldMask(masked: MaskedField, method: Method): RowMask {
  const { field, index, within } = masked;
  const isText = field.type === "json" || (field.type === "text_array" && within[0] === "[]" && within.length === 1);
  if (within.length > 0 && isText) return createInnerMask(masked, method);
  const mask = createValueMask(masked, method);
  return (editor, batch, row, start, length) => {
    const from = editor.arena.length;
    if (mask(batch.bytes, start, length, editor.arena)) editor.set(row, index, from);
    else editor.setNull(row, index);
    return true;
  };
}

/** Only what the path names is replaced; the rest of the text keeps its bytes. */
function createInnerMask({ index, within }: MaskedField, method: Method): RowMask {
  const targets = new JsonTargets(within);
  const mask = createTokenMask(method);
  return (editor, { bytes }, row, start, length) => {
    const found = targets.find(bytes, start, start + length);
    if (found.length === 0) return targets.hasEmptyArray;
    const { arena } = editor;
    const from = arena.length;
    let copied = start;
    for (let at = 0; at < found.length; at += 2) {
      const tokenStart = found[at] as number;
      const tokenEnd = found[at + 1] as number;
      arena.copy(bytes, copied, tokenStart);
      mask(bytes, tokenStart, tokenEnd, arena);
      copied = tokenEnd;
    }
    arena.copy(bytes, copied, start + length);
    editor.set(row, index, from);
    return true;
  };
}
