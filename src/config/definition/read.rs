//! The values of a definition, each told from its mistakes by where it stands in the file.

use std::fmt::Display;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::options::nearest;

/// What is wrong, where in the file, and what to do.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) at: usize,
    pub(super) cause: String,
    pub(super) hint: Option<String>,
}

impl Mistake {
    pub(super) fn at(at: usize, cause: impl Display) -> Self {
        Self { at, cause: cause.to_string(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }
}

pub(super) type Told<T> = std::result::Result<T, Mistake>;

/// A value and where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

pub(super) fn table<'v, 'a>(value: &'v Value<'a>) -> Told<&'v DeTable<'a>> {
    let form = || Mistake::at(value.span().start, "it must be a table").hint("begin it with [network.NAME]");
    value.get_ref().as_table().ok_or_else(form)
}

pub(super) fn array<'v, 'a>(value: &'v Value<'a>) -> Told<&'v [Value<'a>]> {
    let form = || Mistake::at(value.span().start, "it must be a list of strings, as [\"one\", \"two\"]");
    value.get_ref().as_array().map(|array| &array[..]).ok_or_else(form)
}

/// A string, or a number as it is written.
pub(super) fn text(value: &Value<'_>) -> Told<String> {
    let written = value.get_ref();
    let number = written.as_integer().map(|number| number.as_str());
    let text = written.as_str().or(number).map(str::to_owned);
    text.ok_or_else(|| Mistake::at(value.span().start, "it must be a string or a number"))
}

pub(super) fn flag(value: &Value<'_>) -> Told<bool> {
    let form = || Mistake::at(value.span().start, "it must be true or false");
    value.get_ref().as_bool().ok_or_else(form)
}

pub(super) fn parsed<T: FromStr<Err: Display>>(value: &Value<'_>) -> Told<T> {
    text(value)?.parse().map_err(|cause| Mistake::at(value.span().start, cause))
}

/// The values of a list, and where each stands.
pub(super) fn list<T: FromStr<Err: Display>>(value: &Value<'_>) -> Told<(Vec<T>, Vec<usize>)> {
    let one = |value: &Value<'_>| Ok((parsed(value)?, value.span().start));
    Ok(array(value)?.iter().map(one).collect::<Told<Vec<_>>>()?.into_iter().unzip())
}

/// One of a few words.
pub(super) fn word<T: Copy>(value: &Value<'_>, known: &[(&str, T)]) -> Told<T> {
    let written = text(value)?;
    if let Some((_, meaning)) = known.iter().find(|(name, _)| *name == written) {
        return Ok(*meaning);
    }
    let names = known.iter().map(|(name, _)| (*name).to_owned());
    let mistake =
        Mistake::at(value.span().start, format!("'{written}' is not one of {}", all(names.clone())));
    Err(match nearest(&written, names) {
        Some(nearest) => mistake.hint(format!("did you mean {nearest}?")),
        None => mistake,
    })
}

pub(super) fn all(values: impl Iterator<Item: Display>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}
