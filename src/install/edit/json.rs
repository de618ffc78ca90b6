//! Where in a JSON text something is, and where it would be put.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Edit;
use crate::error::{Doing, Result};

impl Edit {
    /// The value at `path`, a list of keys; `None` if it is not there, or null.
    ///
    /// # Errors
    /// The file is not JSON, or what is at `path`, or on the way to it, is of another kind.
    pub fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>> {
        let Some(range) = self.find(path)? else { return Ok(None) };
        serde_json::from_str(&self.text[range]).doing(|| self.reading(path))
    }

    /// Puts `value`, a JSON text, at `path`, where nothing or null is, with the objects on the
    /// way to it.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn set(&mut self, path: &[&str], value: &str) -> Result<()> {
        if let Some(null) = self.find(path)? {
            self.replace(null, value);
            return Ok(());
        }
        let Some((key, above)) = path.split_last() else { return Ok(()) };
        let member = format!("{}: {value}", serde_json::Value::from(*key));
        if self.get::<serde_json::Value>(above)?.is_none() {
            return self.set(above, &format!("{{{member}}}"));
        }
        let Some(object) = self.find(above)? else { return Ok(()) };
        let inside = &self.text[object.start + 1..object.end - 1];
        // After the last member, spaced as the first one is.
        let space = &inside[..inside.len() - inside.trim_start().len()];
        let at = object.start + 1 + inside.trim_end().len();
        let text = if inside.trim().is_empty() { member } else { format!(",{space}{member}") };
        self.replace(at..at, &text);
        Ok(())
    }

    /// Puts `element`, a JSON text, first into the array at `path`, which need not be there.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn prepend(&mut self, path: &[&str], element: &str) -> Result<()> {
        let Some(found) = self.get::<Vec<serde_json::Value>>(path)? else {
            return self.set(path, &format!("[{element}]"));
        };
        let Some(array) = self.find(path)? else { return Ok(()) };
        let inside = &self.text[array.start + 1..array.end - 1];
        let space = &inside[..inside.len() - inside.trim_start().len()];
        let at = array.start + 1 + space.len();
        let text = if found.is_empty() { element.to_owned() } else { format!("{element},{space}") };
        self.replace(at..at, &text);
        Ok(())
    }

    /// Where the value at `path` is. Of members of the same name the last one counts, as it
    /// does for most readers.
    fn find(&self, path: &[&str]) -> Result<Option<Range<usize>>> {
        let text = self.text.as_str();
        let mut value: &RawValue = serde_json::from_str(text).doing(|| self.reading(&[]))?;
        for (depth, key) in path.iter().enumerate() {
            let members: Option<BTreeMap<String, &RawValue>> =
                serde_json::from_str(value.get()).doing(|| self.reading(&path[..depth]))?;
            match members.and_then(|members| members.get(*key).copied()) {
                Some(member) => value = member,
                None => return Ok(None),
            }
        }
        let start = value.get().as_ptr().addr() - text.as_ptr().addr();
        Ok(Some(start..start + value.get().len()))
    }

    fn reading(&self, path: &[&str]) -> String {
        let what = if path.is_empty() { String::new() } else { format!("{} in ", path.join(".")) };
        format!("read {what}{}", self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, how: fn(&mut Edit) -> Result<()>) -> String {
        let mut edit = Edit { file: "/f".into(), created: false, put: Vec::new(), text: text.to_owned() };
        how(&mut edit).unwrap();
        edit.text
    }

    #[test]
    fn a_value_is_put_in_with_the_objects_on_the_way_to_it() {
        let set = |text| edited(text, |edit| edit.set(&["a", "b"], "1"));
        assert_eq!(set("{}"), r#"{"a": {"b": 1}}"#);
        assert_eq!(set("{ }\n"), "{\"a\": {\"b\": 1} }\n");
        assert_eq!(set(r#"{"a":null}"#), r#"{"a":{"b": 1}}"#);
        assert_eq!(set(r#"{"a":{"b":null}}"#), r#"{"a":{"b":1}}"#);
        assert_eq!(set("{\n  \"z\": 1.50\n}\n"), "{\n  \"z\": 1.50,\n  \"a\": {\"b\": 1}\n}\n");
        assert_eq!(set(r#"{"x":"}","a":{"c":-0}}"#), r#"{"x":"}","a":{"c":-0,"b": 1}}"#);
    }

    #[test]
    fn an_element_is_put_first() {
        let prepend = |text| edited(text, |edit| edit.prepend(&["a"], "1"));
        assert_eq!(prepend("{}"), r#"{"a": [1]}"#);
        assert_eq!(prepend(r#"{"a":[]}"#), r#"{"a":[1]}"#);
        assert_eq!(prepend(r#"{"a":null}"#), r#"{"a":[1]}"#);
        assert_eq!(prepend("{\"a\":[\n  2\n]}"), "{\"a\":[\n  1,\n  2\n]}");
    }

    #[test]
    fn what_is_of_another_kind_is_refused_by_name() {
        let edit = Edit { file: "/f".into(), created: false, put: vec![], text: r#"{"a":[]}"#.into() };
        let error = edit.get::<String>(&["a", "b"]).unwrap_err().to_string();
        assert!(error.starts_with("read a in /f: "), "{error}");
    }
}
