/** The rejects file: one JSON object per rejected record and line. */
import type { Rejection } from "../../records/run-context.js";
import { redact } from "../../redaction.js";
import { type LinesForm, type LinesOptions, openLinesFile } from "./lines-file.js";

export interface RejectsFile {
  write(rejection: Rejection): Promise<void>;
  close(): Promise<void>;
}

const REJECTS: LinesForm = { flag: "--rejects", noun: "rejects", begins: '{"section":' };
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** E_USAGE for what the run reads or writes, E_OUTPUT_EXISTS, E_IO, E_DISK_FULL: as openLinesFile has it. */
export async function openRejectsFile(name: string, options: LinesOptions): Promise<RejectsFile> {
  const lines = await openLinesFile(name, REJECTS, options);
  const append = (bytes: Uint8Array): Promise<void> => lines.write(bytes);
  return {
    async write({ kind, error, record }) {
      const { section, key, field, steps } = error.context;
      const place = { section: section ?? kind.path, key: key ?? null, ...(field === undefined ? {} : { field }) };
      const through = steps === undefined ? "" : `; the record came through ${steps.join(", then ")}`;
      const head = JSON.stringify({ ...place, code: error.code, reason: redact(error.message + through) });
      await append(Buffer.from(`${head.slice(0, -1)},"record":`));
      let written = 0;
      for await (const chunk of record ?? []) {
        written += chunk.length;
        await append(withoutLineBreaks(chunk));
      }
      await append(Buffer.from(written === 0 ? "null}\n" : "}\n"));
    },
    close: () => lines.close(),
  };
}

/** Between JSON tokens a line break means nothing; within one it does not occur. */
function withoutLineBreaks(chunk: Uint8Array): Uint8Array {
  const isBreak = (byte: number): boolean => byte === LINE_FEED || byte === CARRIAGE_RETURN;
  return chunk.some(isBreak) ? chunk.map((byte) => (isBreak(byte) ? 0x20 : byte)) : chunk;
}
