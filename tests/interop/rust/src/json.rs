//! JSON as the task protocol wants it: no duplicate keys, bounded nesting, and members that have the type they should.

use std::{fmt, ops::RangeInclusive};

use anyhow::{anyhow, ensure, Context, Result};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

const MAX_DEPTH: usize = 32;

pub type Object = Map<String, Value>;

/// serde_json itself already refuses a byte order mark, invalid UTF-8, lone surrogates and anything behind the value.
pub fn parse(bytes: &[u8]) -> Result<Object> {
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 1 }.deserialize(&mut source)?;
    source.end()?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(anyhow!("the payload is not a JSON object")),
    }
}

/// Reads one value; `depth` is what a container at this place would have.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn inside<E: Error>(self) -> Result<Self, E> {
        if self.depth > MAX_DEPTH {
            return Err(E::custom(format!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let element = self.inside()?;
        let mut array = Vec::new();
        while let Some(value) = source.next_element_seed(element)? {
            array.push(value);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let member = self.inside()?;
        let mut object = Object::new();
        while let Some(key) = source.next_key::<String>()? {
            let value = source.next_value_seed(member)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key {key:?}")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Typed access to members. What is null counts as absent; a wrong type is an error, never an absence.
pub trait Members {
    fn member(&self, name: &str) -> Option<&Value>;
    fn text_if_any(&self, name: &str) -> Result<Option<&str>>;
    fn integer_if_any(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>>;
    fn flag(&self, name: &str) -> Result<bool>;
    fn text(&self, name: &str) -> Result<&str>;
    fn integer(&self, name: &str) -> Result<u64>;
    fn object_if_any(&self, name: &str) -> Result<Option<&Object>>;
    fn object(&self, name: &str) -> Result<&Object>;
    fn array_if_any(&self, name: &str) -> Result<Option<&Vec<Value>>>;
    fn array(&self, name: &str) -> Result<&Vec<Value>>;
}

impl Members for Object {
    fn member(&self, name: &str) -> Option<&Value> {
        self.get(name).filter(|value| !value.is_null())
    }

    fn text_if_any(&self, name: &str) -> Result<Option<&str>> {
        self.member(name).map(|value| value.as_str().with_context(|| format!("{name} is not a string"))).transpose()
    }

    fn integer_if_any(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(value) = self.member(name) else { return Ok(None) };
        // 3e4 and 30000.0 have become floating-point numbers by now, and are no integers here either.
        let value = value.as_u64().with_context(|| format!("{name} is not an unsigned integer"))?;
        ensure!(range.contains(&value), "{name} is not within {} to {}", range.start(), range.end());
        Ok(Some(value))
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.member(name) {
            None => Ok(false),
            Some(value) => value.as_bool().with_context(|| format!("{name} is not a boolean")),
        }
    }

    fn object_if_any(&self, name: &str) -> Result<Option<&Object>> {
        self.member(name).map(|value| value.as_object().with_context(|| format!("{name} is not an object"))).transpose()
    }

    fn array_if_any(&self, name: &str) -> Result<Option<&Vec<Value>>> {
        self.member(name).map(|value| value.as_array().with_context(|| format!("{name} is not an array"))).transpose()
    }

    fn text(&self, name: &str) -> Result<&str> {
        self.text_if_any(name)?.with_context(|| format!("{name} is missing"))
    }

    fn integer(&self, name: &str) -> Result<u64> {
        self.integer_if_any(name, 0..=u64::MAX)?.with_context(|| format!("{name} is missing"))
    }

    fn object(&self, name: &str) -> Result<&Object> {
        self.object_if_any(name)?.with_context(|| format!("{name} is missing"))
    }

    fn array(&self, name: &str) -> Result<&Vec<Value>> {
        self.array_if_any(name)?.with_context(|| format!("{name} is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_32_is_read_and_33_is_not() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse(nested(32).as_bytes()).is_ok());
        assert!(parse(nested(33).as_bytes()).is_err());
    }

    #[test]
    fn what_nobody_should_send_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":1} x"#,
            r#"[1]"#,
            "\u{feff}{}",
            "{\"a\":\"\u{1}\"}",
            "",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn integers_are_written_as_integers() {
        let object = parse(br#"{"a":3e4,"b":30000.0,"c":30000,"d":null,"e":-1,"f":"1"}"#).unwrap();
        for wrong in ["a", "b", "e", "f"] {
            assert!(object.integer(wrong).is_err(), "{wrong}");
        }
        assert_eq!(object.integer("c").unwrap(), 30000);
        assert_eq!(object.integer_if_any("d", 0..=1).unwrap(), None);
        assert!(object.integer_if_any("c", 0..=29999).is_err());
    }
}
