/** Arbitrary programs of the compiled part of jq, and arbitrary inputs for them. */
import fc from "fast-check";

const NAMES = ["a", "b", "c", "long_name"];
const NUMBERS = ["0", "1", "2", "-1", "3", "10", "0.5", "1.10", "1e3", "12345678901234567890", "1e400", "0.1", "1e-7"];
const STRINGS = ["", "a", "b", "aB", "a,b", "é", "😀", "\uffee", "x y", "10", "1.10", "line\nbreak", 'quo"te'];

const json: fc.Arbitrary<string> = fc.letrec<{ json: string }>((tie) => ({
  json: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom("null", "true", "false"),
    fc.constantFrom(...NUMBERS),
    fc.integer({ min: -100, max: 100 }).map(String),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => JSON.stringify(number)),
    fc.constantFrom(...STRINGS).map((string) => JSON.stringify(string)),
    fc.string({ unit: "binary", maxLength: 4 }).map((string) => JSON.stringify(string)),
    fc.array(tie("json"), { maxLength: 3 }).map((items) => `[${items.join(",")}]`),
    objects(tie("json")),
    objects(tie("json")),
  ),
})).json;

function objects(member: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .uniqueArray(fc.tuple(fc.constantFrom(...NAMES, "z"), member), { selector: ([name]) => name, maxLength: 4 })
    .map((members) => `{${members.map(([name, value]) => `"${name}":${value}`).join(",")}}`);
}

export const inputs: fc.Arbitrary<string[]> = fc.array(fc.oneof(json, objects(json)), { minLength: 3, maxLength: 3 });

/** jq's spelling of a string: no escape that only JSON has. */
const text = fc.constantFrom(...STRINGS).map((string) => JSON.stringify(string));
const UNARY = `not length keys keys_unsorted type tostring tonumber tojson floor add any all sort unique to_entries
  from_entries ascii_downcase ascii_upcase first values nulls strings numbers objects arrays empty error .. @base64
  @json @text . .[] .[]? .[0] .[-1] .[1:] .[:1] .[:-1] now`.split(/\s+/);
const PATTERNS = ["a", "^a", "b$", "[a-z]+", "a|b", ".", "^[^,]*$", "\\d", "\\w\\s", "A?b"];

type Text = fc.Arbitrary<string>;

interface Grammar {
  program: string;
  path: string;
}

const grammar = fc.letrec<Grammar>((tie: fc.LetrecTypedTie<Grammar>) => {
  const program = tie("program");
  const path = tie("path");
  const field = fc.constantFrom(...NAMES).map((name) => `.${name}`);
  const pair = (join: (left: string, right: string) => string, left: Text = program, right: Text = program) =>
    fc.tuple(left, right).map(([first, second]) => join(first, second));
  const wrapped = (wrap: (inner: string) => string, inner: Text = program) => inner.map(wrap);
  return {
    program: fc.oneof(
      { depthSize: "medium", withCrossShrink: true },
      field,
      fc.constantFrom(...UNARY),
      fc.constantFrom(...NUMBERS.filter((number) => !number.startsWith("-"))),
      text,
      fc.constantFrom("null", "true", "false", "[]", "{}"),
      path,
      pair((left, right) => `(${left} | ${right})`),
      pair((left, right) => `(${left}, ${right})`),
      fc
        .tuple(program, fc.constantFrom(..."+ - / % == != < <= > >= and or //".split(" ")), program)
        .map(([left, op, right]) => `(${left} ${op} ${right})`),
      // Not any two values: a string times 10^19 ends jq for good.
      fc.tuple(program, fc.constantFrom("0", "1", "2", "0.5")).map(([left, factor]) => `(${left} * ${factor})`),
      pair((left, right) => `((${left} | numbers) * (${right} | numbers))`),
      fc.tuple(path, fc.constantFrom("0", "3", "1.10")).map(([left, factor]) => `(${left} *= ${factor})`),
      fc
        .tuple(path, fc.constantFrom(..."= |= += -= /= //= %=".split(" ")), program)
        .map(([left, op, right]) => `(${left} ${op} ${right})`),
      wrapped((inner) => `del(${inner})`, path),
      wrapped((inner) => `[${inner}]`),
      wrapped((inner) => `map(${inner})`),
      wrapped((inner) => `select(${inner})`),
      wrapped((inner) => `map_values(${inner})`),
      wrapped((inner) => `with_entries(${inner})`),
      wrapped((inner) => `any(${inner})`),
      wrapped((inner) => `all(${inner})`),
      wrapped((inner) => `first(${inner})`),
      wrapped((inner) => `(${inner})?`),
      wrapped((inner) => `-(${inner})`),
      wrapped((inner) => `try (${inner}) catch "caught"`),
      wrapped((inner) => `"<\\(${inner})>"`),
      pair((left, right) => `"\\(${left})-\\(${right})"`),
      pair((left, right) => `{a: (${left}), b: (${right})}`, path),
      pair((left, right) => `{(${left} | strings): (${right})}`),
      pair((left, right) => `((${left}) as $x | [$x, ${right}, $x])`),
      fc
        .tuple(program, program, program)
        .map(([condition, then, otherwise]) => `if ${condition} then ${then} else ${otherwise} end`),
      fc
        .tuple(fc.constantFrom(..."has contains startswith endswith ltrimstr rtrimstr split join".split(" ")), program)
        .map(([name, argument]) => `${name}(${argument})`),
      fc
        .tuple(fc.constantFrom(...PATTERNS), fc.boolean())
        .map(([pattern, flag]) => `test(${JSON.stringify(pattern)}${flag ? '; "i"' : ""})`),
    ),
    path: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      field,
      fc.constantFrom(".", ".[]", ".[]?", ".[0]", ".[-1]", ".a.b", ".a[0]", ".a?", ".b[]?", ".."),
      pair((left, right) => `(${left} | ${right})`, path, path),
      pair((left, right) => `(${left}, ${right})`, path, path),
      pair((left, right) => `(${left} // ${right})`, path, path),
      pair((left, right) => `(${left} | select(${right}))`, path),
      wrapped((inner) => `(${inner})?`, path),
      wrapped((inner) => `.[${inner}]?`),
    ),
  };
});

export const programs = grammar.program;
