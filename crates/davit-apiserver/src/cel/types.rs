//! Types of expressions, and which may stand in the place of which.

use std::{collections::BTreeMap, fmt, rc::Rc};

/// A type, as the language knows it.
#[derive(Clone, Debug)]
pub(crate) enum Type {
    /// Anything: looked at when the rule runs.
    Dyn,
    /// What an error was said of: fits everywhere, so that it is said once.
    Error,
    /// A type without parts, such as `int`, or one that a library defines, such as `kubernetes.Quantity`.
    Plain(&'static str),
    List(Box<Self>),
    Map(Box<Self>, Box<Self>),
    Optional(Box<Self>),
    /// The type of a type.
    Meta(Box<Self>),
    /// An object of the schema.
    Object(Rc<Declared>),
    /// Not known yet; a number into [`Bindings`].
    Param(usize),
}

/// One place of a schema, as rules see it.
#[derive(Debug)]
pub(crate) struct Declared {
    /// What messages call the type, where it is an object's.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// How many items, entries, or characters a value has at most; none are counted of anything else.
    pub(crate) most: u64,
    /// How many bytes the smallest value takes in a request.
    pub(crate) least: u64,
}

/// What is below a place.
#[derive(Debug)]
pub(crate) enum Kind {
    Simple(&'static str),
    Dyn,
    List(Rc<Declared>),
    Map(Rc<Declared>),
    Object(BTreeMap<String, Rc<Declared>>),
}

impl Type {
    pub(crate) const BOOL: Self = Self::Plain("bool");
    #[cfg(test)]
    pub(crate) const INT: Self = Self::Plain("int");
    pub(crate) const STRING: Self = Self::Plain("string");

    /// Whether a value is of one size: a number, a truth value, a time.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Plain(name) => matches!(
                *name,
                "bool" | "int" | "uint" | "double" | "timestamp" | "duration"
            ),
            Self::Optional(inner) => inner.is_scalar(),
            _ => false,
        }
    }

    /// Whether `null` may stand for it.
    fn is_nullable(&self) -> bool {
        match self {
            Self::Object(_) | Self::Optional(_) => true,
            Self::Plain(name) => matches!(*name, "null" | "timestamp" | "duration") || name.contains('.'),
            _ => false,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn | Self::Param(_) => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Plain(name) => f.write_str(name),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Meta(inner) => write!(f, "type({inner})"),
            Self::Object(declared) => f.write_str(&declared.name),
        }
    }
}

/// What is known by now of the types that were not known at first.
#[derive(Clone, Default)]
pub(crate) struct Bindings(Vec<Option<Type>>);

impl Bindings {
    /// A type of which nothing is known.
    pub(crate) fn fresh(&mut self) -> Type {
        self.0.push(None);
        Type::Param(self.0.len() - 1)
    }

    /// The type with everything that is known of it; what is not known is anything.
    pub(crate) fn settled(&self, of: &Type) -> Type {
        let inner = |inner: &Type| Box::new(self.settled(inner));
        match self.resolved(of) {
            Type::Param(_) => Type::Dyn,
            Type::List(item) => Type::List(inner(&item)),
            Type::Map(key, value) => Type::Map(inner(&key), inner(&value)),
            Type::Optional(of) => Type::Optional(inner(&of)),
            Type::Meta(of) => Type::Meta(inner(&of)),
            other => other,
        }
    }

    /// The type at the end of what it is bound to.
    pub(crate) fn resolved(&self, of: &Type) -> Type {
        let mut at = of;
        while let Type::Param(number) = at
            && let Some(Some(bound)) = self.0.get(*number)
        {
            at = bound;
        }
        at.clone()
    }

    /// Whether a value of the one type may be where the other is wanted; what that says of unknown ones is kept, also
    /// where it does not fit.
    pub(crate) fn assign(&mut self, given: &Type, wanted: &Type) -> bool {
        let (given, wanted) = (self.resolved(given), self.resolved(wanted));
        match (&given, &wanted) {
            (Type::Param(a), Type::Param(b)) if a == b => true,
            (Type::Param(number), other) | (other, Type::Param(number)) => {
                if !self.occurs(*number, other)
                    && let Some(slot) = self.0.get_mut(*number)
                {
                    *slot = Some(other.clone());
                }
                true
            }
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) | (Type::Meta(_), Type::Meta(_)) => {
                true
            }
            (Type::Plain(a), Type::Plain(b)) if a == b => true,
            (Type::Plain("null"), other) | (other, Type::Plain("null")) => other.is_nullable(),
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.assign(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.assign(a, c) && self.assign(b, d),
            _ => false,
        }
    }

    /// Of two types of which the one fits the other, the one that says less.
    pub(crate) fn general(&self, a: Type, b: Type) -> Type {
        if self.says_less(&a, &b) { a } else { b }
    }

    fn says_less(&self, a: &Type, b: &Type) -> bool {
        match (self.resolved(a), self.resolved(b)) {
            (Type::Dyn | Type::Param(_), _) | (Type::Meta(_), Type::Meta(_)) => true,
            (_, Type::Dyn | Type::Param(_)) => false,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.says_less(&a, &b),
            (Type::Map(a, b), Type::Map(c, d)) => self.says_less(&a, &c) && self.says_less(&b, &d),
            (a, b) => self.settled(&a).to_string() == self.settled(&b).to_string(),
        }
    }

    fn occurs(&self, number: usize, within: &Type) -> bool {
        match self.resolved(within) {
            Type::Param(other) => other == number,
            Type::List(inner) | Type::Optional(inner) | Type::Meta(inner) => self.occurs(number, &inner),
            Type::Map(key, value) => self.occurs(number, &key) || self.occurs(number, &value),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_become_known() {
        let mut bindings = Bindings::default();
        let unknown = bindings.fresh();
        let list = Type::List(Box::new(unknown.clone()));
        assert!(bindings.assign(&Type::List(Box::new(Type::INT)), &list));
        assert_eq!(bindings.settled(&list).to_string(), "list(int)");
        assert!(!bindings.assign(&Type::STRING, &unknown));
        assert!(bindings.assign(&Type::Dyn, &unknown));
        assert!(!bindings.assign(&Type::Plain("null"), &Type::INT));
        assert!(bindings.assign(&Type::Plain("null"), &Type::Plain("timestamp")));
        let endless = bindings.fresh();
        bindings.assign(&Type::List(Box::new(endless.clone())), &endless);
        assert_eq!(bindings.settled(&endless).to_string(), "dyn");
    }
}
