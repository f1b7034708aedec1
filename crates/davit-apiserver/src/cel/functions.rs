//! The functions that rules may call, by what they take: the language's own, and those of Kubernetes' libraries.

use std::{collections::HashMap, sync::LazyLock};

use super::types::{Bindings, Type};

/// One form of a function. Small letters are types, capital ones stand for any type, the same letter for the same.
#[derive(Debug)]
pub(crate) struct Overload {
    /// Whether it is called on its first argument.
    pub(crate) member: bool,
    takes: Vec<&'static str>,
    gives: &'static str,
}

/// `name (arguments)result …`; `.` before an overload is one that is called on its first argument.
const TABLE: &str = "
_?_:_ (bool,A,A)A
!_ (bool)bool
-_ (int)int (double)double
_==_ (A,A)bool
_!=_ (A,A)bool
_<_ (bool,bool)bool (int,int)bool (int,double)bool (int,uint)bool (uint,uint)bool (uint,double)bool (uint,int)bool (double,double)bool (double,int)bool (double,uint)bool (string,string)bool (bytes,bytes)bool (timestamp,timestamp)bool (duration,duration)bool
_+_ (bytes,bytes)bytes (double,double)double (duration,duration)duration (duration,timestamp)timestamp (timestamp,duration)timestamp (int,int)int (list<A>,list<A>)list<A> (string,string)string (uint,uint)uint
_-_ (double,double)double (duration,duration)duration (int,int)int (timestamp,duration)timestamp (timestamp,timestamp)duration (uint,uint)uint
_*_ (double,double)double (int,int)int (uint,uint)uint
_/_ (double,double)double (int,int)int (uint,uint)uint
_%_ (int,int)int (uint,uint)uint
@in (A,list<A>)bool (A,map<A,B>)bool
_[_] (list<A>,int)A (map<A,B>,A)B (optional<list<A>>,int)optional<A> (optional<map<A,B>>,A)optional<B>
_[?_] (list<A>,int)optional<A> (map<A,B>,A)optional<B> (optional<list<A>>,int)optional<A> (optional<map<A,B>>,A)optional<B>
size (bytes)int (list<A>)int (map<A,B>)int (string)int .(bytes)int .(list<A>)int .(map<A,B>)int .(string)int
contains .(string,string)bool
endsWith .(string,string)bool
startsWith .(string,string)bool
matches (string,string)bool .(string,string)bool
bool (bool)bool (string)bool
bytes (bytes)bytes (string)bytes
double (double)double (int)double (string)double (uint)double
duration (duration)duration (int)duration (string)duration
dyn (A)dyn
int (int)int (double)int (duration)int (string)int (timestamp)int (uint)int
string (string)string (bool)string (bytes)string (double)string (duration)string (int)string (timestamp)string (uint)string (net.IP)string (net.CIDR)string
timestamp (timestamp)timestamp (int)timestamp (string)timestamp
type (A)type<A>
uint (uint)uint (double)uint (int)uint (string)uint
getDate .(timestamp)int .(timestamp,string)int
getDayOfMonth .(timestamp)int .(timestamp,string)int
getDayOfWeek .(timestamp)int .(timestamp,string)int
getDayOfYear .(timestamp)int .(timestamp,string)int
getFullYear .(timestamp)int .(timestamp,string)int
getHours .(timestamp)int .(timestamp,string)int .(duration)int
getMilliseconds .(timestamp)int .(timestamp,string)int .(duration)int
getMinutes .(timestamp)int .(timestamp,string)int .(duration)int
getMonth .(timestamp)int .(timestamp,string)int
getSeconds .(timestamp)int .(timestamp,string)int .(duration)int
charAt .(string,int)string
indexOf .(string,string)int .(string,string,int)int .(list<A>,A)int
lastIndexOf .(string,string)int .(string,string,int)int .(list<A>,A)int
join .(list<string>)string .(list<string>,string)string
lowerAscii .(string)string
upperAscii .(string)string
replace .(string,string,string)string .(string,string,string,int)string
split .(string,string)list<string> .(string,string,int)list<string>
substring .(string,int)string .(string,int,int)string
trim .(string)string
format .(string,list<dyn>)string
strings.quote (string)string
optional.of (A)optional<A>
optional.ofNonZeroValue (A)optional<A>
optional.none ()optional<A>
value .(optional<A>)A .(kubernetes.NamedFormat)string
hasValue .(optional<A>)bool
or .(optional<A>,optional<A>)optional<A>
orValue .(optional<A>,A)A
isSorted .(list<A>)bool
sum .(list<int>)int .(list<uint>)uint .(list<double>)double .(list<duration>)duration
min .(list<A>)A
max .(list<A>)A
sort .(list<int>)list<int> .(list<uint>)list<uint> .(list<double>)list<double> .(list<bool>)list<bool> .(list<duration>)list<duration> .(list<timestamp>)list<timestamp> .(list<string>)list<string> .(list<bytes>)list<bytes>
@sortByAssociatedKeys .(list<A>,list<int>)list<A> .(list<A>,list<uint>)list<A> .(list<A>,list<double>)list<A> .(list<A>,list<bool>)list<A> .(list<A>,list<duration>)list<A> .(list<A>,list<timestamp>)list<A> .(list<A>,list<string>)list<A> .(list<A>,list<bytes>)list<A>
flatten .(list<list<A>>)list<A> .(list<dyn>,int)list<dyn>
slice .(list<A>,int,int)list<A>
reverse .(list<A>)list<A>
distinct .(list<A>)list<A>
lists.range (int)list<int>
first .(list<A>)optional<A>
last .(list<A>)optional<A>
optional.unwrap (list<optional<A>>)list<A>
unwrapOpt .(list<optional<A>>)list<A>
cel.@mapInsert (map<A,B>,A,B)map<A,B> (map<A,B>,map<A,B>)map<A,B>
sets.contains (list<A>,list<A>)bool
sets.equivalent (list<A>,list<A>)bool
sets.intersects (list<A>,list<A>)bool
url (string)kubernetes.URL
isURL (string)bool
getScheme .(kubernetes.URL)string
getHost .(kubernetes.URL)string
getHostname .(kubernetes.URL)string
getPort .(kubernetes.URL)string
getEscapedPath .(kubernetes.URL)string
getQuery .(kubernetes.URL)map<string,list<string>>
find .(string,string)string
findAll .(string,string)list<string> .(string,string,int)list<string>
quantity (string)kubernetes.Quantity
isQuantity (string)bool
isInteger .(kubernetes.Quantity)bool
asInteger .(kubernetes.Quantity)int
asApproximateFloat .(kubernetes.Quantity)double
sign (kubernetes.Quantity)int
isGreaterThan .(kubernetes.Quantity,kubernetes.Quantity)bool .(kubernetes.Semver,kubernetes.Semver)bool
isLessThan .(kubernetes.Quantity,kubernetes.Quantity)bool .(kubernetes.Semver,kubernetes.Semver)bool
compareTo .(kubernetes.Quantity,kubernetes.Quantity)int .(kubernetes.Semver,kubernetes.Semver)int
add .(kubernetes.Quantity,kubernetes.Quantity)kubernetes.Quantity .(kubernetes.Quantity,int)kubernetes.Quantity
sub .(kubernetes.Quantity,kubernetes.Quantity)kubernetes.Quantity .(kubernetes.Quantity,int)kubernetes.Quantity
ip (string)net.IP .(net.CIDR)net.IP
isIP (string)bool
ip.isCanonical (string)bool
family .(net.IP)int
isUnspecified .(net.IP)bool
isLoopback .(net.IP)bool
isLinkLocalMulticast .(net.IP)bool
isLinkLocalUnicast .(net.IP)bool
isGlobalUnicast .(net.IP)bool
cidr (string)net.CIDR
isCIDR (string)bool
containsIP .(net.CIDR,string)bool .(net.CIDR,net.IP)bool
containsCIDR .(net.CIDR,string)bool .(net.CIDR,net.CIDR)bool
masked .(net.CIDR)net.CIDR
prefixLength .(net.CIDR)int
semver (string)kubernetes.Semver (string,bool)kubernetes.Semver
isSemver (string)bool (string,bool)bool
major .(kubernetes.Semver)int
minor .(kubernetes.Semver)int
patch .(kubernetes.Semver)int
format.named (string)optional<kubernetes.NamedFormat>
format.dns1123Label ()kubernetes.NamedFormat
format.dns1123Subdomain ()kubernetes.NamedFormat
format.dns1035Label ()kubernetes.NamedFormat
format.qualifiedName ()kubernetes.NamedFormat
format.dns1123LabelPrefix ()kubernetes.NamedFormat
format.dns1123SubdomainPrefix ()kubernetes.NamedFormat
format.dns1035LabelPrefix ()kubernetes.NamedFormat
format.labelValue ()kubernetes.NamedFormat
format.uri ()kubernetes.NamedFormat
format.uuid ()kubernetes.NamedFormat
format.byte ()kubernetes.NamedFormat
format.date ()kubernetes.NamedFormat
format.datetime ()kubernetes.NamedFormat
validate .(kubernetes.NamedFormat,string)optional<list<string>>
path .(kubernetes.authorization.Authorizer,string)kubernetes.authorization.PathCheck
group .(kubernetes.authorization.Authorizer,string)kubernetes.authorization.GroupCheck
serviceAccount .(kubernetes.authorization.Authorizer,string,string)kubernetes.authorization.Authorizer
resource .(kubernetes.authorization.GroupCheck,string)kubernetes.authorization.ResourceCheck
subresource .(kubernetes.authorization.ResourceCheck,string)kubernetes.authorization.ResourceCheck
namespace .(kubernetes.authorization.ResourceCheck,string)kubernetes.authorization.ResourceCheck
name .(kubernetes.authorization.ResourceCheck,string)kubernetes.authorization.ResourceCheck
fieldSelector .(kubernetes.authorization.ResourceCheck,string)kubernetes.authorization.ResourceCheck
labelSelector .(kubernetes.authorization.ResourceCheck,string)kubernetes.authorization.ResourceCheck
check .(kubernetes.authorization.PathCheck,string)kubernetes.authorization.Decision .(kubernetes.authorization.ResourceCheck,string)kubernetes.authorization.Decision
errored .(kubernetes.authorization.Decision)bool
error .(kubernetes.authorization.Decision)string
allowed .(kubernetes.authorization.Decision)bool
reason .(kubernetes.authorization.Decision)string
@not_strictly_false (bool)bool
";

/// The names of types, which are values too.
pub(crate) const TYPES: [&str; 11] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "optional_type",
    "string",
    "type",
    "uint",
];

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut functions: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in TABLE.lines() {
        let Some((name, overloads)) = line.split_once(' ') else {
            continue;
        };
        functions.insert(name, overloads.split(' ').filter_map(overload).collect());
    }
    functions
});

fn overload(text: &'static str) -> Option<Overload> {
    let (member, text) = match text.strip_prefix('.') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (takes, gives) = text.strip_prefix('(')?.split_once(')')?;
    Some(Overload {
        member,
        takes: split(takes),
        gives,
    })
}

/// The parts between the commas that are in no brackets.
fn split(text: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.extend(text.get(begin..at));
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(begin..).filter(|rest| !rest.is_empty()));
    parts
}

/// All forms of a function; none if there is no such function.
pub(crate) fn named(name: &str) -> Option<&'static [Overload]> {
    let name = match name {
        "_<=_" | "_>_" | "_>=_" => "_<_",
        name => name,
    };
    FUNCTIONS.get(name).map(Vec::as_slice)
}

impl Overload {
    /// What a call with these arguments gives, or none if it does not take them. `bindings` know more afterwards.
    pub(crate) fn call(&self, member: bool, arguments: &[Type], bindings: &mut Bindings) -> Option<Type> {
        if self.member != member || self.takes.len() != arguments.len() {
            return None;
        }
        let mut letters = HashMap::new();
        for (wanted, given) in self.takes.iter().zip(arguments) {
            let wanted = instance(wanted, &mut letters, bindings);
            if !bindings.assign(given, &wanted) {
                return None;
            }
        }
        Some(instance(self.gives, &mut letters, bindings))
    }

    /// The name of the type that it is called on, or takes first.
    pub(crate) fn first(&self) -> &'static str {
        self.takes.first().copied().unwrap_or_default()
    }

    /// The name of the type that it takes last.
    pub(crate) fn last(&self) -> &'static str {
        self.takes.last().copied().unwrap_or_default()
    }
}

/// A type as it is written in the table, with a fresh one for each letter.
fn instance(text: &'static str, letters: &mut HashMap<&'static str, Type>, bindings: &mut Bindings) -> Type {
    let Some((outer, inner)) = text.split_once('<') else {
        return match text {
            "dyn" => Type::Dyn,
            _ if text.len() == 1 => letters.entry(text).or_insert_with(|| bindings.fresh()).clone(),
            _ => Type::Plain(text),
        };
    };
    let parts = split(inner.strip_suffix('>').unwrap_or(inner));
    let mut parts = parts
        .into_iter()
        .map(|part| Box::new(instance(part, letters, bindings)));
    let (first, second) = (parts.next(), parts.next());
    match (outer, first, second) {
        ("list", Some(item), _) => Type::List(item),
        ("map", Some(key), Some(value)) => Type::Map(key, value),
        ("optional", Some(inner), _) => Type::Optional(inner),
        ("type", Some(inner), _) => Type::Meta(inner),
        _ => Type::Dyn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        for line in TABLE.lines().filter(|line| !line.is_empty()) {
            let (name, overloads) = line.split_once(' ').unwrap();
            assert_eq!(named(name).unwrap().len(), overloads.split(' ').count(), "{name}");
        }
    }

    #[test]
    fn letters_are_the_same_type() {
        let list = |item| Type::List(Box::new(item));
        let rows = [
            (
                "_+_",
                false,
                vec![list(Type::INT), list(Type::INT)],
                Some("list(int)"),
            ),
            ("_+_", false, vec![list(Type::INT), list(Type::STRING)], None),
            ("size", true, vec![Type::STRING], Some("int")),
            (
                "getQuery",
                true,
                vec![Type::Plain("kubernetes.URL")],
                Some("map(string, list(string))"),
            ),
            (
                "orValue",
                true,
                vec![Type::Optional(Box::new(Type::INT)), Type::STRING],
                None,
            ),
        ];
        for (name, member, arguments, wanted) in rows {
            let found = named(name).unwrap().iter().find_map(|overload| {
                let mut bindings = Bindings::default();
                let given = overload.call(member, &arguments, &mut bindings)?;
                Some(bindings.settled(&given).to_string())
            });
            assert_eq!(found.as_deref(), wanted, "{name}");
        }
    }
}
