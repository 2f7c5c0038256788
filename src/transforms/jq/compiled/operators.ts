/** jq's arithmetic and comparisons. */
import { JqError } from "./access.js";
import { formatNumber, NumberText, numberOf, Undecided } from "./numbers.js";
import {
  compareValues,
  equalValues,
  isNumber,
  type JsonArray,
  JsonObject,
  printValue,
  typeOf,
  type Value,
} from "./values.js";

export type Operator = (left: Value, right: Value) => Value;

function mismatch(left: Value, right: Value, verb: string): JqError {
  return new JqError(`${typeOf(left)} and ${typeOf(right)} cannot be ${verb}`);
}

export function add(left: Value, right: Value): Value {
  if (left === null) return right;
  if (right === null) return left;
  if (typeof left === "string" && typeof right === "string") return left + right;
  if (isNumber(left) && isNumber(right)) return numberOf(left) + numberOf(right);
  if (left instanceof JsonObject && right instanceof JsonObject) {
    const members = new Map(left.map());
    for (const [key, member] of right.map()) members.set(key, member);
    return new JsonObject(members);
  }
  if (Array.isArray(left) && Array.isArray(right)) return [...left, ...right];
  throw mismatch(left, right, "added");
}

function subtract(left: Value, right: Value): Value {
  if (isNumber(left) && isNumber(right)) return numberOf(left) - numberOf(right);
  if (Array.isArray(left) && Array.isArray(right)) {
    const gone = right as JsonArray;
    return (left as JsonArray).filter((item) => !gone.some((other) => equalValues(item, other)));
  }
  throw mismatch(left, right, "subtracted");
}

function multiply(left: Value, right: Value): Value {
  if (isNumber(left) && isNumber(right)) return numberOf(left) * numberOf(right);
  // Strings are repeated, objects merged deeply: versions of jq differ there.
  const types = `${typeOf(left)} ${typeOf(right)}`;
  if (["string number", "number string", "object object"].includes(types)) throw new Undecided();
  throw mismatch(left, right, "multiplied");
}

function divide(left: Value, right: Value): Value {
  if (isNumber(left) && isNumber(right)) {
    const divisor = numberOf(right);
    if (divisor === 0) throw new JqError("number and number cannot be divided because the divisor is zero");
    return numberOf(left) / divisor;
  }
  if (typeof left === "string" && typeof right === "string") return splitString(left, right);
  throw mismatch(left, right, "divided");
}

function remainder(left: Value, right: Value): Value {
  if (!isNumber(left) || !isNumber(right)) throw mismatch(left, right, "divided");
  const dividend = Math.trunc(numberOf(left));
  const divisor = Math.trunc(numberOf(right));
  // Negative ones and those beyond 2^53 follow C's integers, in ways that changed between versions.
  if (!(dividend >= 0 && divisor >= 0 && dividend <= 2 ** 53 && divisor <= 2 ** 53)) throw new Undecided();
  if (divisor === 0) throw new JqError("number and number cannot be divided (remainder) because the divisor is zero");
  // As an integer 0 has no sign: -0.5 % 2 is 0.
  return (dividend % divisor) + 0;
}

export function splitString(text: string, separator: string): Value {
  if (text === "") return [];
  return separator === "" ? [...text] : text.split(separator);
}

/** `tostring` */
export function toText(value: Value): string {
  if (typeof value === "string") return value;
  return typeof value === "number" ? formatNumber(value) : printValue(value);
}

export const OPERATORS: Readonly<Record<string, Operator>> = {
  "+": add,
  "-": subtract,
  "*": multiply,
  "/": divide,
  "%": remainder,
  "==": equalValues,
  "!=": (left, right) => !equalValues(left, right),
  "<": (left, right) => compareValues(left, right) < 0,
  "<=": (left, right) => compareValues(left, right) <= 0,
  ">": (left, right) => compareValues(left, right) > 0,
  ">=": (left, right) => compareValues(left, right) >= 0,
};

export function negate(value: Value): Value {
  if (typeof value === "number") return -value;
  if (value instanceof NumberText) return -value.value;
  throw new JqError(`${typeOf(value)} cannot be negated`);
}
