/** What llmspell's PostgreSQL database has besides its record kinds. */
import type { PostgresApplication } from "../../backends/postgres/application.js";
import { partitionsOf } from "../partitions/month-partitions.js";
import { readPostgresVersions } from "../schema/postgres/migrations-table.js";
import { largeObjectOwner } from "./large-object-owner.js";
import { SCHEMA } from "./schema-name.js";

export const llmspellPostgres: PostgresApplication = {
  name: "llmspell",
  schema: SCHEMA,
  readVersions: readPostgresVersions,
  otherTables: new Map([
    ["api_keys", "api_keys has rows: encrypted provider keys are never exported"],
    ["test_data", "test_data has rows: llmspell's test table is not exported"],
    ["refinery_schema_history", undefined],
    ["storage_migrations", undefined],
    ["storage_runs", undefined],
    ["storage_parts", undefined],
    ["storage_steps", undefined],
    ["storage_plans", undefined],
    ["storage_plan_parts", undefined],
    ["storage_plan_sums", undefined],
  ]),
  tenantSetting: "app.current_tenant_id",
  partitionsOf,
  largeObjectOwner,
  keepsRuns: true,
};
