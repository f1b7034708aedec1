//! Rules in CEL that make sense more often than not: checked, and run on an object and on a change of it.

use std::time::Instant;

use davit_apiserver::internals::Schema;
use serde_json::{Value, json};

use super::{SLOW, source::Source};

/// Expressions of a type. `$` and a letter is an expression of that type, `%` and a letter a new variable of it.
const FORMS: &[(char, &[&str])] = &[
    (
        'B',
        &[
            "true",
            "self.b",
            "false",
            "$B && $B",
            "$B || $B",
            "!$B",
            "$B ? $B : $B",
            "$I == $I",
            "$I != $I",
            "$I < $I",
            "$S == $S",
            "$S <= $S",
            "$D >= $D",
            "$S in $L",
            "$S in $M",
            "$I in $N",
            "$L == $L",
            "$M == $M",
            "$O == $O",
            "$S.startsWith($S)",
            "$S.contains($S)",
            "$S.endsWith($S)",
            "$S.matches($S)",
            "$S.matches('[a-z]+')",
            "has(self.s)",
            "has(self.o.name)",
            "has(self.m.a)",
            "$L.all(%S, $B)",
            "$L.exists(%S, $B)",
            "$L.exists_one(%S, $B)",
            "$N.all(%I, $B)",
            "$O.exists(%E, $B)",
            "$O.all(%E, has($E.name) || $B)",
            "$M.all(%S, $B)",
            "$M.exists(%S, %S, $B)",
            "$L.all(%I, %S, $B)",
            "$N.existsOne(%I, %I, $B)",
            "$K.all(%N, $B)",
            "$N.isSorted()",
            "sets.contains($L, $L)",
            "sets.equivalent($N, $N)",
            "sets.intersects($L, $L)",
            "isQuantity($S)",
            "$Q.isGreaterThan($Q)",
            "$Q == $Q",
            "isIP($S)",
            "isCIDR($S)",
            "isURL($S)",
            "ip.isCanonical($S)",
            "$A.isLoopback()",
            "$C.containsIP($S)",
            "$C.containsIP($A)",
            "$C.containsCIDR($C)",
            "isSemver($S)",
            "isSemver($S, $B)",
            "$V.isLessThan($V)",
            "$T < $T",
            "$P > $P",
            "$X == $S",
            "$X == $I",
            "type($X) == string",
            "oldSelf == self",
            "oldSelf.i < $I",
            "$S == oldSelf.s",
            "format.named($S).hasValue()",
            "format.dns1123Label().validate($S).hasValue()",
            "bool($S)",
            "$Y == $Y",
            "$L.first() == optional.of($S)",
            "$L.last().hasValue()",
            "self.?s.hasValue()",
            "self.o == oldSelf.o",
            "$O.map(%E, $E.name).all(%S, $B)",
            "type($I) == int",
            "$F == $F",
            "self.ios == $I",
            "self.any == self.any",
            "$S.find($S) != ''",
            "optional.of($I).optMap(%I, $B).orValue($B)",
            "self.set == oldSelf.set",
            "self.keyed + oldSelf.keyed == self.keyed",
            "self.keyed.exists(%E, $E.name == $S)",
            "dyn($I) == dyn($S)",
        ],
    ),
    (
        'I',
        &[
            "1",
            "self.i",
            "0",
            "-1",
            "9223372036854775807",
            "$I + $I",
            "$I - $I",
            "$I * $I",
            "$I / $I",
            "$I % $I",
            "-$I",
            "size($S)",
            "$L.size()",
            "$M.size()",
            "$N.sum()",
            "$N.max()",
            "$N.min()",
            "$N[$I]",
            "int($S)",
            "int($D)",
            "$S.indexOf($S)",
            "$S.indexOf($S, $I)",
            "$S.lastIndexOf($S)",
            "$S.lastIndexOf($S, $I)",
            "$L.indexOf($S)",
            "$L.lastIndexOf($S)",
            "$T.getHours()",
            "$T.getFullYear()",
            "$T.getMonth($S)",
            "$P.getMinutes()",
            "$A.family()",
            "$C.prefixLength()",
            "$Q.sign()",
            "$Q.compareTo($Q)",
            "$Q.asInteger()",
            "$V.major()",
            "$B ? $I : $I",
            "$N.first().orValue($I)",
            "$N.last().value()",
            "self.?i.orValue($I)",
            "$N.filter(%I, $B).size()",
            "size($Y)",
            "lists.range(5)[$I]",
            "$E.n",
            "int($T)",
            "size($K)",
            "$K.flatten().sum()",
            "$N.map(%I, $I).sum()",
            "$M.transformMap(%S, %S, $I).size()",
            "dyn($I)",
        ],
    ),
    (
        'S',
        &[
            "'a'",
            "self.s",
            "''",
            "'é-x'",
            "'10.0.0.1'",
            "'1Gi'",
            "'https://a.b/c'",
            "$S + $S",
            "$S.lowerAscii()",
            "$S.upperAscii()",
            "$S.trim()",
            "$S.charAt($I)",
            "$S.substring($I)",
            "$S.substring($I, $I)",
            "$S.replace($S, $S)",
            "$S.replace($S, $S, $I)",
            "$L.join($S)",
            "$L.join()",
            "$L[$I]",
            "$M[$S]",
            "$M.a",
            "string($I)",
            "string($D)",
            "string($B)",
            "string($T)",
            "string($P)",
            "string($Y)",
            "'%s'.format([$S])",
            "'%d-%s'.format([$I, $L])",
            "$S.format([$I])",
            "$S.format([$D, $S])",
            "'%.3f'.format([$D])",
            "strings.quote($S)",
            "$S.find($S)",
            "$S.split($S)[$I]",
            "$L.first().orValue($S)",
            "$L.max()",
            "$E.name",
            "$U.getHost()",
            "$U.getScheme()",
            "$U.getEscapedPath()",
            "string($A)",
            "string($C)",
            "$B ? $S : $S",
            "$L.sort().join($S)",
            "self.?s.orValue($S)",
            "self.m[?$S].orValue($S)",
            "$S.split('').reverse().join()",
            "format.dns1123Label().validate($S).orValue($L).join()",
            "self.__namespace__",
            "self.x__dash__y",
        ],
    ),
    (
        'D',
        &[
            "1.5",
            "self.d",
            "-0.0",
            "1e300",
            "double($I)",
            "double($S)",
            "$D + $D",
            "$D * $D",
            "$D / $D",
            "-$D",
            "$Q.asApproximateFloat()",
            "[$D, $D].max()",
        ],
    ),
    ('Y', &["b'abc'", "self.data", "bytes($S)", "$Y + $Y", "b''"]),
    (
        'T',
        &[
            "timestamp('2024-01-02T03:04:05Z')",
            "self.when",
            "self.day",
            "timestamp($S)",
            "timestamp($I)",
            "$T + $P",
            "$T - $P",
        ],
    ),
    (
        'P',
        &[
            "duration('1h')",
            "self.span",
            "duration($S)",
            "$T - $T",
            "$P + $P",
            "$P - $P",
            "[$P, $P].sum()",
        ],
    ),
    (
        'L',
        &[
            "['a', 'b']",
            "self.l",
            "[]",
            "[$S, $S]",
            "$L + $L",
            "$S.split($S)",
            "$S.split('', $I)",
            "$S.findAll($S)",
            "$L.map(%S, $S)",
            "$L.map(%S, $B, $S)",
            "$L.filter(%S, $B)",
            "$M.map(%S, $S)",
            "$L.sort()",
            "$L.sortBy(%S, $S)",
            "$L.sortBy(%S, $I)",
            "$L.reverse()",
            "$L.distinct()",
            "$L.slice($I, $I)",
            "$L.transformList(%I, %S, $S)",
            "$L.transformList(%I, %S, $B, $S)",
            "$M.transformList(%S, %S, $S)",
            "[$L, $L].flatten()",
            "$O.map(%E, $E.name)",
            "$O.sortBy(%E, $E.name).map(%E, $E.name)",
            "[optional.of($S), optional.none()].unwrapOpt()",
            "optional.unwrap([self.?s])",
            "self.set",
            "[?self.?s, $S]",
            "$B ? $L : $L",
            "$U.getQuery()[$S]",
        ],
    ),
    (
        'N',
        &[
            "[1, 2, 3]",
            "self.n",
            "[]",
            "[$I, $I]",
            "lists.range(4)",
            "lists.range($I)",
            "$N + $N",
            "$N.sort()",
            "$N.sortBy(%I, -$I)",
            "$N.map(%I, $I)",
            "$N.filter(%I, $B)",
            "$L.map(%S, $I)",
            "$N.distinct()",
            "$N.reverse()",
            "$N.slice($I, $I)",
            "$K.flatten()",
            "$K[$I]",
            "$N.transformList(%I, %I, $I)",
        ],
    ),
    (
        'K',
        &[
            "[[1], [2, 3]]",
            "self.nn",
            "[$N, $N]",
            "$N.map(%I, $N)",
            "$K.map(%N, $N)",
            "$K.filter(%N, $B)",
        ],
    ),
    (
        'M',
        &[
            "{'a': 'b'}",
            "self.m",
            "{$S: $S}",
            "$L.transformMapEntry(%I, %S, {$S: $S})",
            "$M.transformMap(%S, %S, $S)",
            "$M.transformMap(%S, %S, $B, $S)",
            "$M.transformMapEntry(%S, %S, {$S: $S})",
            "{?$S: self.?s}",
        ],
    ),
    (
        'O',
        &[
            "self.os",
            "$O.filter(%E, $B)",
            "$O.sortBy(%E, $S)",
            "$O.reverse()",
            "$O + $O",
            "oldSelf.os",
        ],
    ),
    ('E', &["self.o", "$O[$I]", "$O.first().value()"]),
    (
        'X',
        &[
            "self.ios",
            "dyn($S)",
            "dyn($I)",
            "dyn($L)",
            "self.any.x",
            "dyn($M)",
        ],
    ),
    (
        'Q',
        &[
            "quantity('1Gi')",
            "quantity($S)",
            "$Q.add($Q)",
            "$Q.sub($I)",
            "$Q.add($I)",
        ],
    ),
    ('A', &["ip('10.0.0.1')", "ip($S)", "$C.ip()"]),
    ('C', &["cidr('10.0.0.0/8')", "cidr($S)", "$C.masked()"]),
    ('U', &["url('https://a.b:1/c?d=e')", "url($S)"]),
    ('V', &["semver('1.2.3')", "semver($S)", "semver($S, true)"]),
    ('F', &["format.dns1123Label()", "format.uri()"]),
];

/// An expression of that type.
fn expression(
    source: &mut Source<'_>,
    kind: char,
    depth: usize,
    scope: &mut Vec<(char, String)>,
    out: &mut String,
) {
    let known = scope.iter().filter(|(known, _)| *known == kind).count();
    if known > 0 && source.below(3) == 0 {
        let name = scope
            .iter()
            .filter(|(known, _)| *known == kind)
            .nth(source.below(known));
        out.push_str(&name.unwrap().1);
        return;
    }
    let forms = FORMS.iter().find(|(known, _)| *known == kind).unwrap().1;
    // The first ones have no parts.
    let end = if depth == 0 || source.is_done() || out.len() > 4000 {
        1
    } else {
        forms.len()
    };
    let form = source.pick(&forms[..end]);
    let before = scope.len();
    let mut signs = form.chars();
    let compound = form.contains(' ') && !form.starts_with(['[', '{']);
    if compound {
        out.push('(');
    }
    while let Some(sign) = signs.next() {
        match sign {
            '$' => expression(source, signs.next().unwrap(), depth.saturating_sub(1), scope, out),
            '%' if !form.contains('\'') || out.ends_with('(') || out.ends_with(' ') => match signs.next() {
                Some(kind @ 'A'..='Z') => {
                    let name = if source.rarely(10) {
                        "self".to_owned()
                    } else {
                        format!("v{}", scope.len())
                    };
                    out.push_str(&name);
                    scope.push((kind, name));
                }
                Some(other) => out.extend(['%', other]),
                None => out.push('%'),
            },
            sign => out.push(sign),
        }
    }
    if compound {
        out.push(')');
    }
    scope.truncate(before);
}

fn properties() -> Value {
    let words = json!({"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}});
    let thing = json!({"type": "object", "properties": {
        "name": {"type": "string", "maxLength": 10}, "n": {"type": "integer"}, "tags": words}});
    let mut keyed = json!({"type": "array", "maxItems": 6, "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"], "items": thing});
    keyed["items"]["required"] = json!(["name"]);
    let mut set = words.clone();
    set["x-kubernetes-list-type"] = json!("set");
    json!({
        "i": {"type": "integer"}, "b": {"type": "boolean"}, "d": {"type": "number"},
        "s": {"type": "string", "maxLength": 30},
        "l": words, "n": {"type": "array", "maxItems": 10, "items": {"type": "integer"}},
        "nn": {"type": "array", "maxItems": 10, "items": {"type": "array", "maxItems": 10, "items": {"type": "integer"}}},
        "m": {"type": "object", "maxProperties": 6, "additionalProperties": {"type": "string", "maxLength": 10}},
        "o": thing, "os": {"type": "array", "maxItems": 6, "items": thing}, "keyed": keyed, "set": set,
        "when": {"type": "string", "format": "date-time"}, "day": {"type": "string", "format": "date"},
        "span": {"type": "string", "format": "duration"}, "data": {"type": "string", "format": "byte", "maxLength": 30},
        "ios": {"x-kubernetes-int-or-string": true},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "namespace": {"type": "string", "maxLength": 9}, "x-y": {"type": "string", "maxLength": 9}})
}

fn words(source: &mut Source<'_>, most: usize) -> Vec<String> {
    let mut all: Vec<String> = (0..source.below(most)).map(|_| source.word()).collect();
    for word in &mut all {
        *word = word.chars().take(10).collect();
    }
    all
}

fn spec(source: &mut Source<'_>) -> Value {
    let many = source.pick(&[3, 6, 11]);
    let thing = |source: &mut Source<'_>| {
        let mut thing = json!({"n": source.integer(), "tags": words(source, 4)});
        if !source.rarely(3) {
            thing["name"] = words(source, 2).pop().unwrap_or_default().into();
        }
        thing
    };
    let mut spec = json!({
        "i": source.integer(), "b": source.rarely(2), "d": source.pick(&[1.5, -0.0, 1e300, 3.0]),
        "s": source.word().chars().take(30).collect::<String>(), "l": words(source, many),
        "n": (0..source.below(many)).map(|_| source.integer()).collect::<Vec<_>>(),
        "nn": [[1, 2], (0..source.below(9)).map(|_| source.integer()).collect::<Vec<_>>()],
        "m": words(source, many.min(7)).into_iter().map(|word| (word.clone(), word.into())).collect::<serde_json::Map<_, _>>(),
        "o": thing(source), "os": (0..source.below(many.min(7))).map(|_| thing(source)).collect::<Vec<_>>(),
        "keyed": [{"name": "a", "n": 1}, {"name": "b", "n": source.integer()}], "set": ["a", "b", "c"],
        "when": "2024-01-02T03:04:05Z", "day": "2024-01-02", "span": source.pick(&["1h", "3s", "0"]), "data": "YWJj",
        "ios": source.pick(&["x", "80"]), "any": {"x": source.scalar()}, "namespace": "n", "x-y": "z"});
    if source.rarely(3) {
        spec["ios"] = json!(80);
    }
    if source.rarely(4) {
        let names: Vec<String> = spec.as_object().unwrap().keys().cloned().collect();
        spec.as_object_mut()
            .unwrap()
            .remove(&names[source.below(names.len())]);
    }
    spec
}

/// Checks and runs the rule that these bytes are: text, or choices of a grammar.
pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let (new, old) = (spec(&mut source), spec(&mut source));
    let made = !source.rarely(4);
    let mut rule = String::new();
    if made {
        expression(&mut source, 'B', 5, &mut Vec::new(), &mut rule);
    } else {
        rule = source.rest();
    }
    let mut message = String::new();
    if made && source.rarely(3) {
        expression(&mut source, 'S', 3, &mut Vec::new(), &mut message);
    }
    let mut stated = json!({"rule": rule});
    if !message.is_empty() {
        stated["messageExpression"] = message.into();
    }
    if source.rarely(6) {
        stated["optionalOldSelf"] = true.into();
    }
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": properties(), "x-kubernetes-validations": [stated]}}});
    let began = Instant::now();
    let compiled = Schema::compile(&schema);
    assert!(
        began.elapsed() < SLOW,
        "{rule} took {:?} to check",
        began.elapsed()
    );
    let Ok(compiled) = compiled else { return };
    let (new, old) = (json!({"spec": new}), json!({"spec": old}));
    for (now, before) in [(&new, None), (&new, Some(&old)), (&old, Some(&old))] {
        let began = Instant::now();
        let errors = compiled.validate(now, before);
        assert!(began.elapsed() < SLOW, "{rule} took {:?} to run", began.elapsed());
        // What has passed the check has no names that nobody knows.
        for error in errors {
            assert!(
                !error.message.contains("Undeclared reference"),
                "{rule}: {}",
                error.message
            );
        }
    }
}
