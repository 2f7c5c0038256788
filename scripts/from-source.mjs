// Runs the sources as they are, without a build (CONTRIBUTING.md): `import "./a.js"` finds a.ts.
import { registerHooks } from "node:module";

registerHooks({
  resolve(specifier, context, next) {
    try {
      return next(specifier, context);
    } catch (error) {
      if (!specifier.startsWith(".") || !specifier.endsWith(".js")) throw error;
      return next(specifier.replace(/\.js$/, ".ts"), context);
    }
  },
});
