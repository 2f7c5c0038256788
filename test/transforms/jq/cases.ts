/**
 * Programs of jq's manual and around it, one a line; each is run on each input. Those of COMPILED must be compiled to
 * closures, those of LEFT_TO_JQ must not.
 */
export const INPUTS: readonly string[] = [
  "null",
  "true",
  "0",
  "-1.5",
  "1.10",
  "12345678901234567890",
  '""',
  '"aBc"',
  '"a, b,c"',
  '"xyz\\u00e9\\ud83d\\ude00"',
  "[]",
  "[1,2,3]",
  '[3,null,"x",[1],{"a":1},1.10,false]',
  '[{"a":1,"b":2},{"a":null},{"b":3}]',
  '["a","b","ab"]',
  "{}",
  '{"a":1,"b":null,"c":[1,2],"d":{"e":"f"}}',
  '{"b":"x","a":{"b":{"c":7}},"foo":[{"bar":1},{"bar":2}]}',
  '{"user":"stedolan","titles":["JQ Primer","More JQ"],"n":100000000000000000000,"m":1e400,"z":-0}',
  '{"status":"active","tenant_id":"acme","created_at":1640000000000001,"tags":["x","y"],"metadata":{"migrated":false}}',
];

export const COMPILED: readonly string[] = String.raw`
.
.a
.a.b
.a.b.c
.a?
.a.b?
.["a"]
.["a"]?
."a"
."a".b
.a["b"]
.foo[0].bar
.foo[].bar
.foo[]?.bar
.[0]
.[-1]
.[2]
.[5]
.[0]?
.[]
.[]?
.[1:]
.[:2]
.[:-1]
.[-2:]
.[1:2]
.[0:0]
.[2:1]
.c[1:]
.[1:]?
.a,.b
.[0],.[1]
.user, .titles[]
.[] | .a?
.a | .b
[.[]?]
[.user, .titles[]?]
{user, title: .titles[]?}
{a: 1}
{"a b": 2}
{(.user // "k"): .titles}
{a: (1,2), b: (3,4)}
{a, b}
{"x": .a, "y": .b?}
{"a\(1+1)": 3}
[]
{}
1
"text"
"a\u0041\n\t\"\\"
null
true
false
1.10
1e3
1.50e2
0.00001
100000000000000000000
.5
..
[..]
[..] | length
.. | numbers
[.[]?, 5]
1, 2, 3
. + 1
. - 1
. * 2
. / 2
. % 2
(-0.5) % 2, -(0) % 2
. + .
.a + 1
.a + .b
.a + null
. + null
null + .
"x" + .
. + "x"
. + ["x"]
. + {"z": 9}
.a - 1
. - [1]
. - ["a"]
.a * 3
.a / 2
10 / .a
10 % 3
10 % 0
10 / 0
. / ","
. / ", "
-(.a)
-.
-1
1 - -1
(1,2) + (10,20)
(1,2) * (3,4)
1 + 2 * 3
(1 + 2) * 3
1 - 2 - 3
2 * 3 % 4
. == 1
. == 1.1
. == "aBc"
. == null
. != null
.a == 1
.a == .b
. < 1
. <= 1
. > "a"
. >= []
. < {}
.a < .b
[1,2] < [1,3]
{"a":1} < {"a":2}
{"a":1} == {"a":1.0}
[(1,2) < (2,1)]
1 == 1.0
100000000000000000000 == 100000000000000000001
true and false
true or error
false and error
(true, false) and (true, false)
(true, true) or (true, false)
.a and .b
.a or .b
.a // "d"
.b // "d"
.[]? // "d"
[.[]? // 1]
(null, 1, false, 2) // 3
(null, false) // 3
empty // 1
1 // error
.a // .b // 3
error // 1
(1, error) // 2
(null, error) // 2
.a.b.c.d // "deep"
not
.a | not
[.[]? | not]
if . then 1 else 2 end
if .a? then "yes" else "no" end
if . == null then 0 elif . == true then 1 else 2 end
if .a? then 1 end
if (true, false) then 1 else 2 end
if empty then 1 else 2 end
select(. != null)
select(.a?)
select(.status? == "active")
select(.a? == 1 or .b? == "x")
select((true, true))
[.[]? | select(. != null)]
map(.)
map(. + 1)
map(.a?)
map(select(. != null))
map_values(.)
map_values(. + 1)
map_values(-.)
.[0] |= (. - .) | .[0] |= -.
map_values(empty)
map(.,.)
length
[.[]? | length?]
keys
keys_unsorted
has("a")
has(0)
map(has("a"))
type
[.[]? | type]
tostring
[.[]? | tostring]
tonumber
[.[]? | tonumber?]
tojson
tojson | length
"1.10" | tonumber
"-12" | tonumber
"1e3" | tonumber
"12345678901234567890" | tonumber
ascii_downcase
ascii_upcase
startswith("a")
endswith("c")
ltrimstr("a")
rtrimstr("c")
ltrimstr(1)
[.[]? | ltrimstr("a")]
split(",")
split(", ")
split("")
join(",")
join("")
[.[]? | strings] | join("-")
add
[.[]? | numbers] | add
any
all
any(. == 1)
all(. != null)
any(.a? == 1)
contains("b")
contains(["a"])
contains({"a": 1})
contains({"a": {"b": {}}})
contains(null)
first
first(.[]?)
first(empty)
[first(1,2)]
floor
[.[]? | numbers | floor]
sort
unique
to_entries
with_entries(.value |= tostring)
with_entries(select(.value != null))
with_entries(.key |= "x" + .)
to_entries | from_entries
values
nulls
strings
numbers
booleans
objects
arrays
[.[]? | values]
[.[]? | strings, numbers]
recurse
[recurse | numbers]
empty
error
error("x")
try error("x")
try error("x") catch "caught"
try (1, error("x"), 2) catch 3
try error("x") // 1
.a.b.c.d?
try .a.b.c.d
[.[]? | .a?]
[.[]? | (.a)?]
(.a?) // "none"
error?
.a = 1
.a = null
.b = .a?
.a.b = 1
.x.y.z = 1
.a = (1,2)
.[0] = 9
.[-1] = 9
.[3] = 9
.[0].a = 9
.[] = 1
.[]? = 1
.a |= 2
.a |= . + 1
.a |= empty
.a |= (., 5)
.a.b |= "x"
.a.b.c |= . + 1
.[0] |= . + 1
.[] |= empty
.[] |= tostring
(.[]? | numbers) |= . + 1
(.[]? | select(. == null)) |= 0
(.[]? | select(. != null)) |= empty
(.a, .b) = 1
(.a, .b) |= 7
.foo[].bar = 0
.foo[].bar |= . + 1
.foo[]?.bar |= empty
.. |= .
(.. | numbers) |= . + 1
(.. | strings) |= ascii_downcase
.a += 1
.a -= 1
.a *= 2
.a /= 2
.a %= 2
.a += (1,2)
.a //= 5
.b //= 5
.c += [3]
.d += {"g": 1}
.user += "!"
.x += 1
.x //= "new"
.a += .b?
. = 1
. |= 1
. |= empty
. += 1
(.a | select(. == 1)) = 2
(if .a? then .a else .b end) = 2
(.a // .b) = 2
(.a as $x | .b) = 2
del(.a)
del(.a, .b)
del(.a.b)
del(.a.b.c)
del(.[0])
del(.[0, 2])
del(.[-1])
del(.[])
del(.[]?)
del(.x)
del(.foo[0].bar)
del(.foo[].bar)
del(.. | .e?)
del(.)
del(.[]? | select(. == 1))
del(.[] | select(. == null))
del(.a, .a)
del(.[0], .[0])
del(empty)
del(.. | select(. == 1))
del(.a, .a.b)
1 as $x | $x
1 as $x | 2 as $y | [$x, $y, $x]
.a as $x | .b as $y | [$x, $y]
(1,2) as $x | $x + 1
.[]? as $x | [$x]
. as $x | $x
[.[]? as $x | $x] | length
. as $r | {r: $r}
"x" as $x | {$x}
"a" as $k | .[$k]?
1 as $x | (2 as $x | $x), $x
1 + . as $x | [$x]
"\(1 + 2)"
"a\(.)b"
"\(.a?) and \(.b?)"
"\(1,2)-\(3,4)"
@text
@json
@json "v: \(.)"
@base64
@base64 "x\(.)"
"eHl6" | @base64d
"eA==" | @base64d
@base64 | @base64d
[.[]? | @json]
test("b")
test("B"; "i")
[.[]? | strings | test("^a")]
[.[]? | strings | test("[a-b]+$")]
[.[]? | strings | test("a.?b")]
"2024-01-05" | test("^\\d{4}-\\d{2}-\\d{2}$")
"foo bar" | test("\\bbar\\b")
"test" | test("")
"" | test("")
"abc" | test("a(b|x)c")
"a.c" | test("a\\.c")
"\u2028" | test("^.$")
now | type
now
now - now
(.created_at? // 0) > 1640000000
.metadata.migrated? = true
.metadata.migrated = true
select(.tenant_id? == "acme") | .tenant_id = "new"
del(.tags[0]?)
del(.tags)
.tags |= map(ascii_upcase)
.tags[1:]
{tenant_id, status}
.n
.n + 1
[.n, .m, .z]
.z
.m | tostring
.n == 100000000000000000000
.m == 1e400
.n > 99999999999999999999
[.n, 1, .m] | sort
.created_at? | tostring
[.[]?] | length
# a comment
. # and one behind
`
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"));

export const LEFT_TO_JQ: readonly string[] = [
  "reduce .[]? as $x (0; . + 1)",
  "[limit(2; .[]?)]",
  "group_by(.)",
  'map(sub("a"; "b"))',
  "def f: 1; f",
  "[range(3)]",
  "@csv",
  'try error("x") catch .',
  'test("(?<x>a)")',
  ". as [$a] | $a",
  "path(..)",
  "label $out | 1, break $out",
];
