//! The keys that a configuration type reads, asked of its own deserializer.
//!
//! A type that is deserialized says which fields it wants; here it is handed one of each, and so on below.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::value::{BorrowedStrDeserializer, Error};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Paths of all keys: `TLS.Enabled`, `Flavors.NAME.UID`, `Taints[].key`.
#[must_use]
pub fn of<T: DeserializeOwned>() -> BTreeSet<String> {
    let found = RefCell::default();
    // a value that is refused ends the walk below it, not before it has been seen
    let _ = T::deserialize(Tracer { path: String::new(), found: &found });
    found.into_inner()
}

struct Tracer<'a> {
    path: String,
    found: &'a RefCell<BTreeSet<String>>,
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // a type that takes several forms: the list, or else nothing
        visitor.visit_seq(Once { tracer: Some(Tracer { path: format!("{}[]", self.path), found: self.found }) })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let prefix = if self.path.is_empty() { String::new() } else { format!("{}.", self.path) };
        self.found.borrow_mut().extend(fields.iter().map(|field| format!("{prefix}{field}")));
        visitor.visit_map(Fields { prefix, fields: fields.iter(), value: None, found: self.found })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        static NAME: [&str; 1] = ["NAME"];
        let prefix = format!("{}.", self.path);
        visitor.visit_map(Fields { prefix, fields: NAME.iter(), value: None, found: self.found })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(false)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(0)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(0)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str("")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str("")
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Error::custom("an enum has no keys"))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 u8 u16 u32 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct identifier
    }
}

struct Fields<'a> {
    prefix: String,
    fields: std::slice::Iter<'static, &'static str>,
    value: Option<&'static str>,
    found: &'a RefCell<BTreeSet<String>>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.fields.next().copied();
        self.value.map(|name| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let path = format!("{}{}", self.prefix, self.value.take().unwrap_or_default());
        seed.deserialize(Tracer { path, found: self.found })
    }
}

struct Once<'a> {
    tracer: Option<Tracer<'a>>,
}

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.tracer.take().map(|tracer| seed.deserialize(tracer)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use interlink_daemon::config::null_default;
    use serde::Deserialize;

    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Sample {
        #[serde(rename = "TLS", deserialize_with = "null_default")]
        _tls: Inner,
        #[serde(deserialize_with = "null_default")]
        _by_name: BTreeMap<String, Inner>,
        _list: Vec<Inner>,
        _number: Option<i64>,
        _last: String,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Inner {
        #[serde(rename = "Enabled", deserialize_with = "null_default")]
        _enabled: bool,
    }

    #[test]
    fn keys_are_found_at_every_depth() {
        let found: Vec<String> = of::<Sample>().into_iter().collect();
        let wanted =
            ["ByName", "ByName.NAME.Enabled", "Last", "List", "List[].Enabled", "Number", "TLS", "TLS.Enabled"];
        assert_eq!(found, wanted);
    }
}
