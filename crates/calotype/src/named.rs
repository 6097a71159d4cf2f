//! Enums whose values have names, on command lines and in files.

use crate::error::Error;

/// Declares an enum with a name for each of its values: `ALL` in this order, `name` and `Display`; after
/// `: "what it is"`, also `FromStr`, whose error lists the names, and `names`. Where each name is followed by
/// `: "what it means"`, that is the value's documentation, and `about`, for help texts.
///
/// ```text
/// named_enum! {
///     /// How numbers are stored.
///     pub enum Storage: "dtype" {
///         /// 32 bits.
///         F32 = "f32",
///     }
/// }
/// ```
macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        pub enum $enum:ident $(: $what:literal)? {
            $($(#[$value_meta:meta])* $value:ident = $name:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $enum {
            $($(#[$value_meta])* $value),+
        }

        impl $enum {
            /// Every one, in order.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// The name, as users and files write it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$value => $name),+ }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        $(
            impl $enum {
                /// All names, separated by commas.
                pub fn names() -> String {
                    Self::ALL.map(Self::name).join(", ")
                }
            }

            impl std::str::FromStr for $enum {
                type Err = $crate::error::Error;

                fn from_str(text: &str) -> $crate::error::Result<Self> {
                    let found = Self::ALL.into_iter().find(|one| one.name() == text);
                    found.ok_or_else(|| $crate::named::unknown($what, &Self::ALL.map(Self::name), text))
                }
            }
        )?
    };
    (
        $(#[$meta:meta])*
        pub enum $enum:ident: $what:literal {
            $($(#[$value_meta:meta])* $value:ident = $name:literal: $about:literal),+ $(,)?
        }
    ) => {
        named_enum! {
            $(#[$meta])*
            pub enum $enum: $what {
                $(#[doc = $about] $(#[$value_meta])* $value = $name),+
            }
        }

        impl $enum {
            /// What it means, in a line for help texts.
            pub fn about(self) -> &'static str {
                match self { $(Self::$value => $about),+ }
            }
        }
    };
}
pub(crate) use named_enum;

/// Serde's form of named enums: the name. The error for another text is that of `FromStr`, which says what it should
/// be, where serde's own lists the names alone.
macro_rules! serde_by_name {
    ($($enum:ident),+) => {
        $(
            impl serde::Serialize for $enum {
                fn serialize<S: serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> std::result::Result<S::Ok, S::Error> {
                    serializer.serialize_str(self.name())
                }
            }

            impl<'de> serde::Deserialize<'de> for $enum {
                fn deserialize<D: serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> std::result::Result<Self, D::Error> {
                    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                }
            }
        )+
    };
}
pub(crate) use serde_by_name;

/// The error for a `text` that is none of the `names` of `what`.
pub(crate) fn unknown(what: &str, names: &[&str], text: &str) -> Error {
    let expected = match names {
        [only] => (*only).to_owned(),
        names => format!("one of {}", names.join(", ")),
    };
    Error::argument(what, expected, format!("`{text}`"))
}

#[cfg(test)]
mod tests {
    named_enum! {
        /// A thing with three names.
        #[derive(Hash)]
        pub enum Fruit: "fruit" {
            /// Red.
            Apple = "apple",
            /// Blue.
            Plum = "plum",
        }
    }

    named_enum! {
        /// A thing with explanations.
        pub enum Bowl: "bowl" {
            Deep = "deep": "For soup",
        }
    }

    #[test]
    fn names_lead_to_values_and_back() {
        assert_eq!(Fruit::ALL, [Fruit::Apple, Fruit::Plum]);
        assert_eq!(Fruit::names(), "apple, plum");
        for fruit in Fruit::ALL {
            assert_eq!(fruit.to_string().parse::<Fruit>().unwrap(), fruit);
        }
        assert_eq!(format!("{:>6}", Fruit::Plum), "  plum");
        let error = "pear".parse::<Fruit>().unwrap_err();
        assert_eq!(error.to_string(), "fruit: expected one of apple, plum, got `pear`");
        assert_eq!((Bowl::names().as_str(), Bowl::Deep.about()), ("deep", "For soup"));
        assert_eq!(super::unknown("x", &["only"], "other").to_string(), "x: expected only, got `other`");
    }
}
