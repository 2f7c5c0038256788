/** Arbitrary json texts in pairs: two spellings of a value, or of one that differs a little. */
import fc from "fast-check";

/** A json value before it is spelled: numbers and strings as their tokens may be chosen at random. */
type Shape =
  | { readonly token: readonly string[] }
  | { readonly elements: readonly Shape[] }
  | { readonly members: readonly (readonly [key: readonly string[], value: Shape])[] };

const exponents = fc.oneof(
  fc.integer({ min: -6, max: 6 }),
  fc.integer({ min: -60, max: 60 }),
  fc.constantFrom(131071, 131072, -16383, -16384, 16383, 131070, 999999999, -999999999, 1073741822, 1073741823),
);
const digits = fc.oneof(
  fc.constantFrom("0", "1", "10", "100", "9", "99", "12345678901234567890", "12345678901234567891"),
  fc.stringMatching(/^[0-9]{1,45}$/),
  fc.stringMatching(/^0{0,5}[1-9]0{0,45}$/),
);

/** `digits` times 10 to the power of -scale with an exponent that is shifted against its point. */
function spellNumber(minus: boolean, coefficient: string, exponent: number, shift: number, form: number): string {
  const point = Math.max(0, shift);
  const padded = coefficient.padStart(point + 1, "0");
  const whole = padded.slice(0, padded.length - point).replace(/^0+(?=\d)/, "");
  const fraction = padded.slice(padded.length - point);
  const shifted = exponent + point;
  const mark = form & 1 ? "E" : "e";
  const plus = shifted >= 0 && form & 2 ? "+" : "";
  const zeros = "0".repeat(form & 4 ? 3 : 0);
  const power = shifted === 0 && form & 8 ? "" : `${mark}${shifted < 0 ? "-" : plus}${zeros}${Math.abs(shifted)}`;
  return `${minus ? "-" : ""}${whole}${fraction === "" ? "" : `.${fraction}`}${power}`;
}

/** Several spellings of numbers that are near to each other, or one number. */
const numbers = fc
  .tuple(
    fc.boolean(),
    digits,
    exponents,
    fc.array(fc.tuple(fc.nat(8), fc.nat(15), fc.nat(12)), { minLength: 2, maxLength: 5 }),
  )
  .map(([minus, coefficient, exponent, forms]) => ({
    token: forms.map(([shift, form, change]) => {
      // Most spell the number itself; the others another sign, another scale, another value.
      if (change === 0) return spellNumber(!minus, coefficient, exponent, shift, form);
      if (change === 1) return spellNumber(minus, `${coefficient}0`, exponent - 1, shift, form);
      if (change === 2) return spellNumber(minus, coefficient, exponent + 1, shift, form);
      return spellNumber(minus, coefficient, exponent, shift, form);
    }),
  }));

const units = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...'abcABC/\\"\b\f\n\r\t\u007f\u001f\u0001é€😀\u2028\ue000\uffff') },
  { weight: 4, arbitrary: fc.string({ unit: "binary", minLength: 1, maxLength: 1 }).filter((text) => text !== "\0") },
);
const texts = fc.array(units, { maxLength: 5 }).map((parts) => parts.join(""));

const SHORT: Readonly<Record<string, string>> = { "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "/": "/" };

/** A string token in which `choices` say of each code unit whether it is escaped, and how. */
function spellString(text: string, choices: readonly number[]): string {
  let token = "";
  for (let i = 0; i < text.length; i++) {
    const unit = text[i] as string;
    const choice = choices[i % choices.length] ?? 0;
    const code = unit.charCodeAt(0).toString(16).padStart(4, "0");
    const isSurrogate = unit >= "\ud800" && unit <= "\udfff";
    if (isSurrogate && choice % 2 === 0 && !text.slice(0, i + 1).isWellFormed()) {
      token += text.slice(i, i + 2);
      i++;
    } else if (isSurrogate) {
      const low = text.charCodeAt(++i).toString(16);
      token += `\\u${code}\\u${choice & 2 ? low.toUpperCase() : low}`;
    } else if (choice === 1 || (unit < " " && SHORT[unit] === undefined)) {
      token += `\\u${choice & 2 ? code.toUpperCase() : code}`;
    } else if (unit === '"' || unit === "\\") {
      token += `\\${unit}`;
    } else if (unit < " " || (choice === 2 && SHORT[unit] !== undefined)) {
      token += `\\${SHORT[unit]}`;
    } else {
      token += unit;
    }
  }
  return `"${token}"`;
}

const escapes = fc.array(fc.nat(4), { minLength: 1, maxLength: 4 });
const spelledTexts = fc
  .tuple(texts, fc.array(escapes, { minLength: 2, maxLength: 4 }), fc.nat(12))
  .map(([text, forms, change]) =>
    forms.map((form, at) => spellString(at === 0 && change === 0 ? `${text}a` : text, form)),
  );

const shapes: fc.Arbitrary<Shape> = fc.letrec<{ shape: Shape }>((tie) => ({
  shape: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    { weight: 5, arbitrary: numbers },
    { weight: 3, arbitrary: spelledTexts.map((token) => ({ token })) },
    { weight: 1, arbitrary: fc.constantFrom("true", "false", "null", "[]", "{}").map((token) => ({ token: [token] })) },
    { weight: 2, arbitrary: fc.array(tie("shape"), { maxLength: 4 }).map((elements) => ({ elements })) },
    {
      weight: 4,
      arbitrary: fc
        .array(fc.tuple(spelledTexts, tie("shape")), { maxLength: 6 })
        .map((members) => ({ members }))
        // Keys that occur twice, with values of their own.
        .chain((shape) =>
          fc.nat(3).map((again) =>
            again > 0
              ? shape
              : {
                  members: [
                    ...shape.members,
                    ...shape.members.slice(0, 2).map(([key], at) => [key, { token: [`${at}`] }] as const),
                  ],
                },
          ),
        ),
    },
  ),
})).shape;

/** One text of a shape: `choices` chooses spellings, white space, and the order of members. */
function spell(shape: Shape, choices: Choices): string {
  if ("token" in shape) return shape.token[choices.next(shape.token.length)] as string;
  const space = () => ["", "", " ", "\n", "\t \r"][choices.next(5)] as string;
  if ("elements" in shape)
    return `[${space()}${shape.elements.map((element) => spell(element, choices)).join(`${space()},${space()}`)}${space()}]`;
  const members = shape.members.map(
    ([key, value]) => `${key[choices.next(key.length)]}${space()}:${space()}${spell(value, choices)}`,
  );
  const turn = members.length === 0 ? 0 : choices.next(members.length);
  const turned = [...members.slice(turn), ...members.slice(0, turn)];
  return `{${space()}${turned.join(`${space()},${space()}`)}${space()}}`;
}

/** A small generator of numbers, so that one seed makes one text. */
class Choices {
  constructor(private state: number) {}

  next(below: number): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.state / 2 ** 32) * below);
  }
}

/** Two texts of one shape. */
export const jsonPairs: fc.Arbitrary<readonly [string, string]> = fc
  .tuple(shapes, fc.nat(), fc.nat())
  .map(([shape, one, other]) => [spell(shape, new Choices(one)), spell(shape, new Choices(other))] as const);
