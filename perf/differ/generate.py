"""Random cases: a configuration with its parsers and the lines that it reads.

A case is data (lists of sections and of input lines), so that the minimiser can take pieces away. What the two
programs are known to do differently (deploy/compat.md) is not generated: numbers with exponents or more digits than a
double prints, invalid UTF-8, DEL, `%f`, dotted keys in grep without `$`, `Hard_copy` of a key to itself, two `rewrite_tag`
filters (what has a new tag twice is lost at the end), `Time_Strict Off`, unfinished Docker records before other lines.
"""

KEYS = ["log", "level", "msg", "code", "a", "b", "user", "nested", "time", "stream", "x_1", "x_2", "A", "k8s", "list"]
WORDS = ["error", "debug", "warn", "GET", "POST", "foo", "bar", "é", "日本", "a b", "", "200", "404", "true", "null",
         "tab\there", 'quo"te', "back\\slash", "line\nfeed", "x=1", "/path/to", "ERROR", "😀", "-", "0", "\u0001"]
REGEXES = ["^err", "o", ".*", "^$", "^[a-z]+$", "(?i)ERROR", "\\d+", "foo|bar", "^\\s", "[^a]", "^(GET|POST)$", "0{2}", "é",
           "a.c", "^.{3}$", "\\w+\\s\\w+", "/path"]


class Section:
    """A section of a classic configuration: its kind and its lines, in order."""

    def __init__(self, kind, *lines):
        self.kind = kind
        self.lines = [tuple(line) for line in lines]

    def text(self):
        return f"[{self.kind}]\n" + "".join(f"    {key} {value}\n" for key, value in self.lines)


class Case:
    """What both programs are given."""

    def __init__(self, sections, parsers, lines):
        self.sections, self.parsers, self.lines = sections, parsers, lines

    def copy(self):
        return Case([Section(s.kind, *s.lines) for s in self.sections],
                    [Section(s.kind, *s.lines) for s in self.parsers], list(self.lines))

    def configuration(self):
        return "".join(s.text() for s in self.sections)

    def parsers_file(self):
        return "".join(s.text() for s in self.parsers)


def json_text(rng, depth=0):
    """JSON as programs write it: odd white space, escapes, duplicate keys, but numbers that both print alike."""
    kind = rng.random()
    space = rng.choice(["", "", "", " ", "\t"])
    if depth < 3 and (kind < 0.25 or depth == 0):
        keys = rng.choices(KEYS, k=rng.randint(0 if depth else 1, 5))
        return "{" + ("," + space).join(f'{space}{string(rng, k)}{space}:{space}{json_text(rng, depth + 1)}' for k in keys) + space + "}"
    if depth < 3 and kind < 0.35:
        return "[" + ",".join(json_text(rng, depth + 1) for _ in range(rng.randint(0, 3))) + "]"
    return rng.choice([
        lambda: string(rng, rng.choice(WORDS)), lambda: string(rng, rng.choice(WORDS)),
        lambda: str(rng.randint(-1000, 100000)), lambda: f"{rng.randint(0, 999)}.{rng.choice(['5', '25', '75', '125'])}",
        lambda: rng.choice(["true", "false", "null"]), lambda: string(rng, json_text(rng, 2)),
    ])()


def string(rng, text):
    """A JSON string; characters are written as they are or as escapes."""
    out = []
    for c in text:
        if c == '"':
            out.append('\\"')
        elif c == "\\":
            out.append("\\\\")
        elif ord(c) < 0x20:
            out.append({"\n": "\\n", "\t": "\\t"}.get(c, f"\\u{ord(c):04x}"))
        elif rng.random() < 0.03 and ord(c) < 0x10000:
            out.append(f"\\u{ord(c):04x}")
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


def stamp(rng):
    return f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"


def line(rng, flavour):
    """One line of a file, of a flavour that fits the parser or (sometimes) not."""
    if rng.random() < 0.1:
        flavour = rng.choice(["json", "plain", "kv", "ltsv", "access", "cri", "docker", "broken", "trace"])
    word = lambda: rng.choice(WORDS).replace("\n", " ").replace("\u0001", "")
    if flavour == "json":
        return json_text(rng)
    if flavour == "kv":
        return " ".join(f"{rng.choice(KEYS)}={rng.choice([word().replace(' ', '_'), string(rng, word())])}" for _ in range(rng.randint(1, 5)))
    if flavour == "ltsv":
        return "\t".join(f"{rng.choice(KEYS)}:{word()}" for _ in range(rng.randint(1, 5)))
    if flavour == "access":
        return (f'10.0.0.{rng.randint(1, 255)} - {rng.choice(["-", "bob"])} [{rng.randint(1, 28):02}/Nov/2026:{rng.randint(0, 23):02}:10:{rng.randint(0, 59):02} +0{rng.randint(0, 9)}00] '
                f'"{rng.choice(["GET", "POST"])} /{rng.choice(["", "a", "b?c=d"])} HTTP/1.1" {rng.choice([200, 404, 500])} {rng.randint(0, 9999)}')
    if flavour == "cri":
        return f"{stamp(rng)}.{rng.randint(0, 999999999):09}Z {rng.choice(['stdout', 'stderr'])} {rng.choice('FFFP')} {rng.choice([word(), json_text(rng)])}"
    if flavour == "docker":
        return f'{{"log":{string(rng, rng.choice([word(), json_text(rng)]) + rng.choice(["", chr(10), chr(10)]))},"stream":"stdout","time":"{stamp(rng)}.{rng.randint(0, 999)}Z"}}'
    if flavour == "broken":
        text = json_text(rng)
        return text[: rng.randint(0, len(text))].replace("\n", "")
    if flavour == "trace":
        return rng.choice(["Exception in thread main java.lang.Error: x", "\tat a.b.C(D.java:1)", "Caused by: java.lang.E: y",
                           "    at x.y", "Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: z", "plain"])
    return word()


PARSERS = {
    "json": ("json", [("Format", "json")]),
    "json_time": ("json", [("Format", "json"), ("Time_Key", "time"), ("Time_Format", "%Y-%m-%dT%H:%M:%S")]),
    "docker": ("docker", [("Format", "json"), ("Time_Key", "time"), ("Time_Format", "%Y-%m-%dT%H:%M:%S.%L"), ("Time_Keep", "On")]),
    "kv": ("kv", [("Format", "logfmt")]),
    "ltsv": ("ltsv", [("Format", "ltsv")]),
    "access": ("access", [("Format", "regex"),
                          ("Regex", r'^(?<host>[^ ]*) [^ ]* (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^\"]*?)(?: +\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)$'),
                          ("Time_Key", "time"), ("Time_Format", "%d/%b/%Y:%H:%M:%S %z")]),
    "cri": ("cri", [("Format", "regex"), ("Regex", r"^(?<time>[^ ]+) (?<stream>stdout|stderr) (?<logtag>[^ ]*) (?<log>.*)$"),
                    ("Time_Key", "time"), ("Time_Format", "%Y-%m-%dT%H:%M:%S.%L%z")]),
    "words": ("plain", [("Format", "regex"), ("Regex", r"^(?<a>\w+)? ?(?<b>.*)$")]),
}


def parser(rng, name):
    _, lines = PARSERS[name]
    extra = []
    if rng.random() < 0.3:
        extra.append(("Types", " ".join(f"{rng.choice(KEYS)}:{rng.choice(['integer', 'float', 'bool', 'string', 'hex'])}" for _ in range(rng.randint(1, 3)))))
    if rng.random() < 0.2:
        extra.append((rng.choice(["Decode_Field", "Decode_Field_As"]), f"{rng.choice(['escaped', 'json', 'escaped_utf8'])} {rng.choice(KEYS)}"))
    if rng.random() < 0.1:
        extra.append(("Skip_Empty_Values", rng.choice(["true", "false"])))
    if rng.random() < 0.15 and name != "docker":
        extra.append(("Time_Keep", rng.choice(["On", "Off"])))
    if rng.random() < 0.1:
        extra.append(("Time_Strict", "On"))
    return Section("PARSER", ("Name", name), *lines, *extra)


def accessor(rng):
    key = rng.choice(KEYS)
    return rng.choice([f"${key}", f"${key}['{rng.choice(KEYS)}']", f"$nested['{rng.choice(KEYS)}']['{rng.choice(KEYS)}']"])


def value(rng):
    """A word that stands in a configuration line."""
    return rng.choice([w for w in WORDS if w and w.isprintable() and " " not in w and '"' not in w])


def grep(rng):
    section = [(rng.choice(["Regex", "Exclude"]), grep_rule(rng)) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.3:
        kind = section[0][0]
        section = [("Logical_Op", rng.choice(["and", "or", "legacy"]))] + [(kind, v) for _, v in section]
    return ("grep", section)


def grep_rule(rng):
    """One that may match, or (so that several of a section do now and then) one that mostly does."""
    if rng.random() < 0.5:
        return f"{rng.choice(['log', 'log', 'level', 'msg'])} {rng.choice(['.', '[aeiou]', '[0-9a-f]', '.*'])}"
    return f"{rng.choice([rng.choice(KEYS), accessor(rng)])} {rng.choice(REGEXES)}"


def modify(rng):
    rules = []
    for _ in range(rng.randint(1, 4)):
        rule = rng.choice(["Set", "Add", "Remove", "Remove_wildcard", "Remove_regex", "Rename", "Hard_rename", "Copy", "Hard_copy", "Move_to_start", "Move_to_end"])
        key = rng.choice(KEYS)
        rules.append((rule, {"Set": f"{key} {value(rng)}", "Add": f"{key} {value(rng)}", "Remove": key, "Remove_wildcard": key[:2],
                             "Remove_regex": rng.choice(["^x_", "e$", "a"]), "Move_to_start": rng.choice([key, "x_*"]), "Move_to_end": rng.choice([key, "x_*"])}
                      .get(rule, f"{key} {rng.choice([k for k in KEYS if k != key])}")))
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        condition = rng.choice(["Key_exists", "Key_does_not_exist", "A_key_matches", "No_key_matches", "Key_value_equals", "Key_value_does_not_equal",
                                "Key_value_matches", "Key_value_does_not_match", "Matching_keys_have_matching_values", "Matching_keys_do_not_have_matching_values"])
        key = rng.choice([rng.choice(KEYS), accessor(rng)])
        regex = rng.choice([r for r in REGEXES if " " not in r])
        rules.append(("Condition", f"{condition} " + {"Key_exists": key, "Key_does_not_exist": key, "A_key_matches": "^x_", "No_key_matches": "^x_",
                      "Key_value_equals": f"{key} {value(rng)}", "Key_value_does_not_equal": f"{key} {value(rng)}", "Key_value_matches": f"{key} {regex}",
                      "Key_value_does_not_match": f"{key} {regex}"}.get(condition, f"^x_ {regex}")))
    return ("modify", rules)


def record_modifier(rng):
    lines = [("Record", f"{rng.choice(KEYS)} {value(rng)}") for _ in range(rng.randint(0, 2))]
    if not lines:
        # A chunk whose records would all become empty passes untouched in Fluent Bit; with a constant none does.
        lines.append(("Record", "z z"))
    lists = rng.choice(["Remove_key", "Allowlist_key", "Whitelist_key", None])
    if lists:
        lines += [(lists, rng.choice(KEYS + ["x_*"])) for _ in range(rng.randint(1, 3))]
    return ("record_modifier", lines)


def nest(rng):
    if rng.random() < 0.5:
        lines = [("Operation", "nest")] + [("Wildcard", rng.choice(["x_*", "a", "l*", "*"])) for _ in range(rng.randint(1, 2))] + [("Nest_under", rng.choice(KEYS))]
        if rng.random() < 0.3:
            lines.append(("Remove_prefix", rng.choice(["x_", "l"])))
    else:
        lines = [("Operation", "lift"), ("Nested_under", rng.choice(KEYS + ["nested"] * 5))]
    if rng.random() < 0.3:
        lines.append(("Add_prefix", "p_"))
    return ("nest", lines)


def parser_filter(rng, names):
    lines = [("Key_Name", rng.choice(["log", "log", "msg", "nested", rng.choice(KEYS)]))]
    lines += [("Parser", n) for n in rng.sample(names, k=min(len(names), rng.choice([1, 1, 2])))]
    for option in ("Reserve_Data", "Preserve_Key"):
        if rng.random() < 0.5:
            lines.append((option, rng.choice(["On", "Off"])))
    return ("parser", lines)


def rewrite_tag(rng):
    rule = f"{accessor(rng)} {rng.choice([r for r in REGEXES if ' ' not in r])} {rng.choice(['new.tag', 'new.$TAG', 'new.$TAG[0]', 'new.$0', 'new.x'])} {rng.choice(['true', 'false'])}"
    return ("rewrite_tag", [("Rule", rule)])


def type_converter(rng):
    """Only conversions that succeed, of the key that `digits` adds: what fails leaves its value or not, by what else is in the chunk."""
    return ("type_converter", [("str_key", f"digits {rng.choice(KEYS)} {rng.choice(['int', 'uint', 'float', 'hex'])}") for _ in range(rng.randint(1, 2))])


def digits(rng, match):
    """What `type_converter` can always convert."""
    return Section("FILTER", ("Name", "modify"), ("Match", match), ("Set", f"digits {rng.choice(['7', '200', '31', '10'])}"))


LUA = [
    "return 0, ts, r", "return -1, ts, r", "r['n'] = 1 return 1, ts, r", "r['log'] = nil return 2, ts, r",
    "r['t'] = tag return 2, ts, r", "if r['a'] then return -1, ts, r end return 0, ts, r", "c = (c or 0) + 1 r['c'] = c return 2, ts, r",
    "return 1, ts + 1, r", "r['l'] = {1, 2, 'x'} return 2, ts, r", "r['f'] = 1.5 r['i'] = 3.0 return 2, ts, r", "return 2, ts, {r, {b = 1}}",
    "error('x')", "r['nested'] = {k = {z = true}} return 2, ts, r", "r['s'] = string.rep('é', 3) return 2, ts, r",
]


def lua(rng):
    lines = [("code", f"function f(tag, ts, r) {rng.choice(LUA)} end"), ("call", "f")]
    if rng.random() < 0.3:
        lines.append(("type_int_key", rng.choice(["i", "code", "c a"])))
    if rng.random() < 0.2:
        lines.append(("type_array_key", rng.choice(["l", "list"])))
    return ("lua", lines)


FILTERS = {"grep": grep, "modify": modify, "record_modifier": record_modifier, "nest": nest, "rewrite_tag": rewrite_tag,
           "type_converter": type_converter, "lua": lua}


def case(rng, filters):
    """A random case that uses only the named filters."""
    flavour = rng.choice(["json", "json", "plain", "kv", "ltsv", "access", "cri", "docker", "trace"])
    names = rng.sample(list(PARSERS), k=rng.randint(1, 3))
    if flavour in ("json", "kv", "ltsv", "access", "cri", "docker") and flavour not in names:
        names.append(flavour)
    tail = [("Name", "tail"), ("Path", "@DIR@/in.log"), ("Tag", rng.choice(["a", "a.b", "kube.x.y", "new.z"])),
            ("Read_from_Head", "true"), ("Exit_On_Eof", "true")]
    grouped = flavour != "json" and rng.random() < 0.25
    if grouped:
        tail.append(("multiline.parser", rng.choice(["cri", "docker", "docker, cri", "java", "python", "go", "ruby"])))
    elif rng.random() < 0.7:
        tail.append(("Parser", flavour if flavour in names and rng.random() < 0.8 else rng.choice(names)))
    for key, choices, chance in (("Key", ["log", "msg"], 0.1), ("Path_Key", ["path"], 0.1), ("Offset_Key", ["offset"], 0.0 if grouped else 0.1), ("Skip_Empty_Lines", ["On"], 0.1),
                                 ("Buffer_Chunk_Size", ["1k", "32k"], 0.05)):
        if rng.random() < chance:
            tail.append((key, rng.choice(choices)))
    sections = [Section("SERVICE", ("Flush", "0.2"), ("Grace", "1"), ("Log_Level", "off"), ("Parsers_File", "parsers.conf")), Section("INPUT", *tail)]
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4])):
        kind = rng.choice([f for f in filters if f != "rewrite_tag" or not any(s.lines[0] == ("Name", f) for s in sections)])
        name, lines = parser_filter(rng, names) if kind == "parser" else FILTERS[kind](rng)
        match = rng.choice(["*", "*", "*", "a*", "*.b", "new.*", "kube.*.y"])
        if kind == "type_converter":
            sections.append(digits(rng, match))
        sections.append(Section("FILTER", ("Name", name), ("Match", match), *lines))
    sections.append(Section("OUTPUT", ("Name", "file"), ("Match", "*"), ("Path", "@DIR@/out"), ("Mkdir", "true")))
    lines = [line(rng, flavour) for _ in range(rng.randint(1, 12))]
    if grouped:
        # What a group still holds at the end is lost by Fluent Bit.
        lines += ['{"log":"end\\n","stream":"stdout"}', "2026-01-01T00:00:00.0Z stdout F end", "2026-01-01T00:00:00.0Z stderr F end", "end", "end"]
        # Behind an unfinished Docker record other lines are glued to it.
        lines = [text for text in lines if not text.startswith("{") or '\\n","stream"' in text]
    return Case(sections, [parser(rng, n) for n in names], lines)
