/** Records of the kinds whose tables have the indexes that loads defer. */
import { record } from "./postgres-support.js";

/** Rows that make a load worth deferring B-trees and GIN, and a few that make it not. */
export const MANY = 2400;
export const FEW = 300;

export const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

export function vectors(first: number, count: number, dimension: 384 | 768 = 384) {
  return Array.from({ length: count }, (_, i) =>
    record(`vector_embeddings.${dimension}`, {
      id: id(first + i),
      tenant_id: "t",
      scope: "s",
      dimension,
      embedding: Array.from({ length: dimension }, (_, at) => (((first + i) * 31 + at * 7) % 97) / 97),
      metadata: {},
      created_at: 0,
      updated_at: 0,
    }),
  );
}

export function events(first: number, count: number) {
  return Array.from({ length: count }, (_, i) =>
    record("event_log", {
      tenant_id: "t",
      event_id: id(first + i),
      event_type: `type ${i % 7}`,
      correlation_id: id(i % 50),
      // Three months, of which llmspell has made partitions for none.
      timestamp: 1_600_000_000_000_000 + i * 3_000_000_000,
      sequence: i,
      language: "lua",
      payload: { i, text: `event ${first + i}` },
    }),
  );
}

export function hooks(first: number, count: number, duration = 1) {
  return Array.from({ length: count }, (_, i) =>
    record("hook_history", {
      execution_id: id(first + i),
      tenant_id: "t",
      hook_id: "h",
      hook_type: "after",
      correlation_id: id(i % 50),
      hook_context: "AAEC",
      result_data: {},
      timestamp: 1_600_000_000_000_000 + i,
      duration_ms: duration,
      triggering_component: "c",
      component_id: "d",
      modified_operation: false,
      tags: ["a", `tag ${i % 9}`],
      retention_priority: 0,
      context_size: 3,
      contains_sensitive_data: false,
      metadata: { i },
      created_at: 0,
    }),
  );
}

export function entities(count: number) {
  return Array.from({ length: count }, (_, i) =>
    record("knowledge_graph.entities", {
      entity_id: id(i + 1),
      tenant_id: "t",
      entity_type: "e",
      name: `entity ${i}`,
      properties: {},
      valid_time_start: i,
      valid_time_end: i + 1,
      transaction_time_start: i,
      transaction_time_end: i + 1,
      created_at: 0,
    }),
  );
}
