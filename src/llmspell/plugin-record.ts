import type { PluginRecord as AnyRecord } from "../transforms/plugin/definition.js";
import type { SectionName, SectionRecord } from "./catalog/index.js";

/**
 * A record as a plugin sees it: the document's keys. text and uuid are strings; int4 and int8 are numbers, beyond 2^53
 * bigints; times are bigint microseconds since 1970, "infinity" or "-infinity"; bytes are Buffers; an embedding is a
 * Float32Array; json is its value, whose integers beyond 2^53 are bigints; a text array is an array. SQL NULL is null, in a
 * json field undefined. `PluginRecord<"sessions">` has the fields of sessions.
 */
export type PluginRecord<Section extends SectionName | undefined = undefined> = Section extends SectionName
  ? SectionRecord<Section>
  : AnyRecord;
