/** What of its target an import that prunes, or asks for an empty one, is about. */
import { type Catalog, tenantFieldOf } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { TargetScope } from "../records/run-context.js";
import type { InvalidUuidPolicy } from "../sinks/ids.js";
import type { Transform } from "../transforms/transform.js";
import type { ImportOptions } from "./options.js";
import { selectPaths } from "./run.js";

/** The tenant that one tenant's records have when they come to the sink. */
export function tenantBehind(tenant: string, transforms: readonly Transform[]): string {
  return transforms.reduce((name, { tenantAfter }) => tenantAfter?.(name) ?? name, tenant);
}

/** What of the target the run's records may meet. E_USAGE where `prune` cannot tell it. */
export function targetScope(options: ImportOptions, transforms: readonly Transform[], catalog: Catalog): TargetScope {
  const { prune, tenants, translate, limit, sourceCheck, verifyManifest, allowEmpty } = options;
  const paths = selectPaths(catalog, options.include, options.exclude);
  const refuse = (what: string, hint: string): void => {
    if (prune) throw new StorageError("E_USAGE", `prune does not go with ${what}`, { hint });
  };
  if (allowEmpty && !prune)
    throw new StorageError("E_USAGE", "--allow-empty says something of a --prune only, and there is none");
  if (limit !== undefined) refuse("a limit", "What is beyond it would be removed from the target.");
  if (sourceCheck === "none") refuse("--source-check none", "Rows that a damaged index lacks would be removed.");
  if (verifyManifest === false) refuse("--no-verify-manifest", "What a damaged document lacks would be removed.");
  if (tenants === undefined) return { paths };
  const changesTenants = (path: string, { mayChange }: Transform): boolean => {
    const kind = catalog.byPath.get(path);
    const field = kind && tenantFieldOf(kind)?.name;
    return field !== undefined && (mayChange?.(path, field) ?? true);
  };
  const unknown = transforms.find(
    (transform) => transform.tenantAfter === undefined && [...paths].some((path) => changesTenants(path, transform)),
  );
  if (unknown !== undefined)
    refuse(
      `a tenant and ${unknown.name}`,
      "The step may give records to other tenants: whose are to be removed cannot be told.",
    );
  if (translate?.includes(":"))
    refuse("a tenant and --translate llmspell:TENANT", "Whose records are to be removed cannot be told.");
  return { paths, tenants: tenants.map((tenant) => tenantBehind(tenant, transforms)) };
}

/** Whether a record's key in the target is the one that it has in the source, but for the spelling of UUIDs. */
export function keysStay(
  options: ImportOptions,
  transforms: readonly Transform[],
  invalidUuid: InvalidUuidPolicy,
): boolean {
  return (
    transforms.length === 0 &&
    invalidUuid !== "derive" &&
    options.idMap === undefined &&
    options.translate === undefined
  );
}
