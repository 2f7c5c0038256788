/** How the connection of this process that is open already reads the file. No type of the driver's: it is part of the public options. */
export interface Beside {
  /** As an immutable file (immutable.ts). */
  readonly immutable: boolean;
  /** Where they take turns (reading/turn.ts). */
  readonly turn?: SharedArrayBuffer;
}
