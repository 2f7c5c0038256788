/** The editor against a model: lists of records that are changed one by one. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RecordKind } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { BatchEditor } from "../../src/records/batch-editor.js";
import { LARGE_VALUE, type LargeValue, RecordBatch } from "../../src/records/record-batch.js";
import { batchOf, type CanonicalRecord, recordArbitrary, recordsOf } from "../helpers/arbitraries.js";

const kind = catalog.byPath.get("artifacts.artifacts") as RecordKind;
const width = kind.fields.length;
const hex = (records: readonly CanonicalRecord[]): unknown =>
  records.map((record) => record.map((value) => value?.toString("hex") ?? null));

type Edit =
  | { readonly type: "set"; readonly row: number; readonly field: number; readonly value: Buffer | null }
  | { readonly type: "drop"; readonly row: number }
  | { readonly type: "duplicate"; readonly row: number };

const editArbitrary: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({
    type: fc.constant("set" as const),
    row: fc.nat(),
    field: fc.nat({ max: width - 1 }),
    value: fc.option(fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))),
  }),
  fc.record({ type: fc.constant("drop" as const), row: fc.nat() }),
  fc.record({ type: fc.constant("duplicate" as const), row: fc.nat() }),
);

describe("the batch editor", () => {
  it("changes, drops and copies rows, batch after batch, and nothing else", () => {
    let changed = 0;
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.array(recordArbitrary(kind), { minLength: 1, maxLength: 5 }),
            fc.array(editArbitrary, { maxLength: 8 }),
          ),
          { minLength: 1, maxLength: 3 },
        ),
        (batches) => {
          const editor = new BatchEditor();
          for (const [records, edits] of batches) {
            // Every second batch has fields that its records do not hold.
            const lacks = (row: number, field: number): boolean => records.length % 2 === 0 && (row + field) % 3 === 0;
            const batch = batchOf(kind, records, lacks);
            // Of each row that came in: what became of it, and its copies in the order in which they were made.
            const lacking = (row: number): boolean[] => Array.from({ length: width }, (_, field) => lacks(row, field));
            const groups: { record: (Buffer | null)[] | undefined; row: number; assumed: boolean[] }[][] = records.map(
              (record, row) => [{ record: [...record], row, assumed: lacking(row) }],
            );
            editor.begin(batch);
            for (const edit of edits) {
              const origin = edit.row % records.length;
              const group = groups[origin] as (typeof groups)[number];
              if (edit.type === "duplicate") {
                const record = [...(records[origin] as CanonicalRecord)];
                group.push({ record, row: editor.duplicate(origin), assumed: lacking(origin) });
                continue;
              }
              const one = group[edit.row % group.length] as (typeof group)[number];
              if (edit.type === "drop") {
                editor.drop(one.row);
                one.record = undefined;
                continue;
              }
              if (edit.value === null) editor.setNull(one.row, edit.field);
              else {
                const start = editor.arena.length;
                editor.arena.copy(edit.value, 0, edit.value.length);
                editor.set(one.row, edit.field, start);
              }
              if (one.record !== undefined) one.record[edit.field] = edit.value;
              one.assumed[edit.field] = false;
            }
            const expected = groups.flat().flatMap(({ record }) => (record === undefined ? [] : [record]));
            const edited = editor.finish();
            if (edits.length === 0) expect(edited).toBe(batch);
            else changed++;
            expect(hex(edited === undefined ? [] : recordsOf(edited))).toEqual(hex(expected));
            expect(edited?.rows ?? 0).toBe(expected.length);
            const left = groups.flat().filter(({ record }) => record !== undefined);
            left.forEach(({ assumed }, row) => {
              expect(assumed.map((_, field) => edited?.isAssumed(row, field))).toEqual(assumed);
            });
            // The batch itself is as it was.
            expect(hex(recordsOf(batch))).toEqual(hex(records));
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(changed).toBeGreaterThan(200);
  });

  it("keeps, replaces and drops a large value", () => {
    const content = catalog.byPath.get("artifacts.content") as RecordKind;
    const field = content.fields.findIndex(({ name }) => name === "data");
    const large: LargeValue = { field, async *chunks() {}, async discard() {} };
    const lengths = new Int32Array(content.fields.length).fill(-1);
    lengths[field] = LARGE_VALUE;
    const batch = new RecordBatch(content, 1, Buffer.alloc(0), new Uint32Array(lengths.length), lengths, large);
    const editor = new BatchEditor();

    editor.begin(batch);
    editor.setNull(0, 0);
    expect(editor.finish()?.large).toBe(large);

    editor.begin(batch);
    const start = editor.arena.length;
    editor.arena.latin1("small");
    editor.set(0, field, start);
    const replaced = editor.finish();
    expect([replaced?.large, replaced?.value(0, field).toString()]).toEqual([undefined, "small"]);

    const other = { ...large };
    editor.begin(batch);
    editor.setLarge(other);
    expect(editor.finish()?.large).toBe(other);

    editor.begin(batch);
    editor.drop(0);
    expect(editor.finish()).toBeUndefined();
    expect(() => editor.duplicate(0)).toThrow("large value");
  });
});
