/** Errors on their way from one thread to another, which would keep nothing of an error's class. */
import { type ErrorCode, type ErrorContext, StorageError, toStorageError } from "../errors.js";

export interface SentError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly context: ErrorContext;
  /** Of the thread, for --verbose. */
  readonly stack: string | undefined;
  /** What stood behind it. */
  readonly cause: { readonly message: string; readonly stack: string | undefined; readonly code: unknown } | undefined;
}

export function sendError(thrown: unknown): SentError {
  const { code, message, context, stack, cause } = toStorageError(thrown);
  return { code, message, context, stack, cause: cause === undefined ? undefined : plain(cause) };
}

function plain(cause: unknown): NonNullable<SentError["cause"]> {
  if (!(cause instanceof Error)) return { message: String(cause), stack: undefined, code: undefined };
  // Of a server's error it is its SQLSTATE.
  const { code, sqlState } = cause as { readonly code?: unknown; readonly sqlState?: unknown };
  const known = [code, sqlState].find((each) => typeof each === "string");
  return { message: cause.message, stack: cause.stack, code: known };
}

export function receiveError({ code, message, context, stack, cause }: SentError): StorageError {
  const error = new StorageError(code, message, { ...context }, cause && behind(cause));
  if (stack !== undefined) error.stack = stack;
  return error;
}

function behind({ message, stack, code }: NonNullable<SentError["cause"]>): Error {
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return code === undefined ? error : Object.assign(error, { code });
}
