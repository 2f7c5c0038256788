/** `import … from "llmspell-storage"` in a plugin finds the package that runs, where the plugin's project has none. */
import { registerHooks } from "node:module";

const NAME = "llmspell-storage";
const INDEX = new URL("../../index.js", import.meta.url).href;

/** Loads a plugin's module, and what that imports. */
export async function importBesideOwnPackage(url: string): Promise<unknown> {
  // A package that is installed globally is in no project's node_modules.
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      if (specifier !== NAME) return next(specifier, context);
      try {
        return next(specifier, context);
      } catch (error) {
        if (!/^(ERR_)?MODULE_NOT_FOUND$/.test(`${(error as NodeJS.ErrnoException).code}`)) throw error;
        return { url: INDEX, format: "module", shortCircuit: true };
      }
    },
  });
  try {
    return await import(url);
  } finally {
    hooks.deregister();
  }
}
