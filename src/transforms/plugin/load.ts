/** Finds a plugin's module in the user's project and checks what it exports. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire, isBuiltin } from "node:module";
import { dirname, join, parse, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Catalog, isOfSection } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import { expandPath } from "../../folders.js";
import type { TransformDefinition } from "./definition.js";
import { importBesideOwnPackage } from "./own-package.js";
import { ProcessGuard } from "./process-guard.js";

/** `module`: a path, a package's name, or a definition. E_PLUGIN_LOAD. */
export async function loadDefinition(
  module: string | TransformDefinition,
  directory: string | undefined,
): Promise<TransformDefinition> {
  if (typeof module !== "string") return checked(module, "the plugin");
  let exported: { readonly default?: unknown };
  let what = `the plugin ${module}`;
  const guard = new ProcessGuard(module, true);
  const loud = withoutLoaderWarnings();
  try {
    const file = resolveModule(module, directory);
    if (file !== module) what += ` (${file})`;
    exported = (await guard.run(() => importBesideOwnPackage(pathToFileURL(file).href))) as typeof exported;
    guard.check();
    guard.forget();
  } catch (error) {
    if (error instanceof StorageError) throw error;
    const detail = error instanceof Error ? error.message : String(error);
    throw new StorageError("E_PLUGIN_LOAD", `${what} cannot be loaded`, { detail }, error);
  } finally {
    loud();
  }
  return checked(exported.default, what);
}

/** What Node says of how it takes a module: that a package.json names no type, that types are stripped. It loads all the same. */
const LOADER_WARNING = /MODULE_TYPELESS_PACKAGE_JSON|Type Stripping is an experimental feature/;

/** Until the function that is given back is called. */
function withoutLoaderWarnings(): () => void {
  const { emitWarning } = process;
  process.emitWarning = ((...warning: Parameters<typeof emitWarning>) => {
    const words = [...warning.map((part) => (typeof part === "object" ? JSON.stringify(part) : part)), warning[0]];
    if (!words.some((word) => LOADER_WARNING.test(`${word}`))) emitWarning.apply(process, warning);
  }) as typeof emitWarning;
  return () => {
    process.emitWarning = emitWarning;
  };
}

/** What the options are by the plugin's own schema. E_PLUGIN_LOAD; no value is shown. */
export function parseOptions(definition: TransformDefinition, given: unknown): unknown {
  const { name, options: schema } = definition;
  if (schema === undefined) {
    if (given === undefined) return undefined;
    throw new StorageError("E_PLUGIN_LOAD", `the plugin ${name} takes no options`);
  }
  try {
    return schema.parse(given ?? {});
  } catch (error) {
    const { issues } = error as { readonly issues?: readonly { path: readonly PropertyKey[]; message: string }[] };
    const detail = Array.isArray(issues)
      ? issues
          .map(({ path, message }) => (path.length === 0 ? message : `${path.map(String).join(".")}: ${message}`))
          .join("; ")
      : (error as Error).message;
    throw new StorageError("E_PLUGIN_LOAD", `the plugin ${name} refuses its options`, { detail }, error);
  }
}

/** The kinds' paths that sections stand for. E_PLUGIN_LOAD for one that there is not. */
export function pathsOf(
  definition: TransformDefinition,
  sections: readonly string[] | undefined,
  catalog: Catalog,
): ReadonlySet<string> {
  const paths = catalog.kinds.map(({ path }) => path);
  if (sections === undefined) return new Set(paths);
  return new Set(
    sections.flatMap((section) => {
      const found = catalog.kinds.filter((kind) => isOfSection(kind, section)).map(({ path }) => path);
      if (found.length > 0) return found;
      throw new StorageError(
        "E_PLUGIN_LOAD",
        `the plugin ${definition.name} names the section ${section}, which there is not`,
        {
          hint: `The sections are ${paths.join(", ")}.`,
        },
      );
    }),
  );
}

function checked(exported: unknown, what: string): TransformDefinition {
  const definition = exported as Partial<TransformDefinition> | undefined;
  const refuse = (detail: string): never => {
    throw new StorageError("E_PLUGIN_LOAD", `${what} is none`, {
      detail,
      hint: "A plugin's module exports defineTransform({ name, transform }) as its default (docs/plugins.md).",
    });
  };
  if (typeof definition !== "object" || definition === null)
    return refuse("it has no default export that is an object");
  if (typeof definition.name !== "string" || definition.name === "") return refuse("its name is missing");
  if (typeof definition.transform !== "function") return refuse("its transform is no function");
  for (const name of ["setup", "flush"] as const)
    if (definition[name] !== undefined && typeof definition[name] !== "function")
      return refuse(`its ${name} is no function`);
  for (const name of ["sections", "emits"] as const)
    if (definition[name] !== undefined && !Array.isArray(definition[name])) return refuse(`its ${name} is no array`);
  if (definition.options !== undefined && typeof definition.options.parse !== "function")
    return refuse("its options have no parse function");
  const { concurrency = 8 } = definition;
  if (!Number.isInteger(concurrency) || concurrency < 1) return refuse("its concurrency is no positive integer");
  return definition as TransformDefinition;
}

/** The file of a plugin's module. Throws where there is none. */
export function resolveModule(module: string, from: string | undefined): string {
  if (module.startsWith("file:")) return fileURLToPath(module);
  if (module === "~" || module.startsWith("~/")) return expandPath(module);
  // As Node has it: `.`, `..` and what begins with them or a root is a path, anything else the name of a module or package.
  if (/^(\.{1,2}$|\.{0,2}[/\\]|[A-Za-z]:[/\\])/.test(module)) return expandPath(module, from);
  const directory = from ?? parse(process.execPath).root;
  if (isBuiltin(module)) {
    const isThere = existsSync(resolve(directory, module));
    throw new StorageError("E_PLUGIN_LOAD", `the plugin ${module} cannot be loaded`, {
      detail: `${module} is the name of a module of Node itself`,
      hint: isThere ? `The file there is ./${module}.` : `A package of that name is ${module}/, a file ./${module}.`,
    });
  }
  try {
    return createRequire(join(directory, "package.json")).resolve(module);
  } catch (error) {
    const file = importedFile(module, directory);
    if (file !== undefined) return file;
    if (existsSync(resolve(directory, module))) {
      throw new StorageError("E_PLUGIN_LOAD", `the plugin ${module} cannot be loaded`, {
        detail: `no package is called so in ${directory}`,
        hint: `The file there is ./${module}.`,
      });
    }
    throw error;
  }
}

/** The file of a package for ES modules only, which `require` does not resolve. */
function importedFile(module: string, directory: string): string | undefined {
  const [, name, rest = ""] = /^(@[^/]+\/[^/]+|[^/]+)(\/.*)?$/.exec(module) ?? [];
  if (name === undefined) return undefined;
  for (let folder = directory; ; folder = dirname(folder)) {
    const root = join(folder, "node_modules", name);
    if (existsSync(join(root, "package.json"))) {
      const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { exports?: unknown };
      const file = exportedFile(exports, `.${rest}`);
      return file === undefined ? undefined : join(root, file);
    }
    if (dirname(folder) === folder) return undefined;
  }
}

const CONDITIONS: ReadonlySet<string> = new Set(["node", "import", "module-sync", "default"]);

function exportedFile(exports: unknown, entry: string): string | undefined {
  if (typeof exports === "string") return entry === "." ? exports : undefined;
  if (typeof exports !== "object" || exports === null) return undefined;
  const table = exports as Record<string, unknown>;
  if (Object.keys(table).some((key) => key.startsWith("."))) return conditional(table[entry]);
  return entry === "." ? conditional(table) : undefined;
}

/** Of conditions the first that holds counts, in the package's order. */
function conditional(target: unknown): string | undefined {
  if (typeof target === "string") return target;
  if (typeof target !== "object" || target === null) return undefined;
  const found = Object.entries(target).find(([condition]) => CONDITIONS.has(condition));
  return found === undefined ? undefined : conditional(found[1]);
}
