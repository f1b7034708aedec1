//! The types of JSON, as a schema names them.

/// The JSON types a value may have; empty means any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Types(u8);

impl Types {
    pub(crate) const OBJECT: Self = Self(1);
    pub(crate) const ARRAY: Self = Self(2);
    pub(crate) const STRING: Self = Self(4);
    pub(crate) const INTEGER: Self = Self(8);
    pub(crate) const NUMBER: Self = Self(16);
    pub(crate) const BOOLEAN: Self = Self(32);
    pub(crate) const INT_OR_STRING: Self = Self(4 | 8);

    pub(crate) fn named(name: &str) -> Self {
        match name {
            "object" => Self::OBJECT,
            "array" => Self::ARRAY,
            "string" => Self::STRING,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "boolean" => Self::BOOLEAN,
            _ => Self::default(),
        }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The names joined as upstream joins them in a message.
    pub(crate) fn names(self) -> String {
        let all = [
            (Self::INTEGER, "integer"),
            (Self::STRING, "string"),
            (Self::OBJECT, "object"),
            (Self::ARRAY, "array"),
            (Self::NUMBER, "number"),
            (Self::BOOLEAN, "boolean"),
        ];
        let named: Vec<&str> = all
            .into_iter()
            .filter(|(one, _)| self.has(*one))
            .map(|(_, name)| name)
            .collect();
        named.join(",")
    }
}
