//! The schema of what is printed, held against what is printed.
//!
//! Readers skip fields that they do not know; here an output must have no field that the schema does not list, so that it lists
//! them all, and each field that it lists must be met, so that none goes away unnoticed.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// What is defined only to be used in other definitions.
const PARTS: [&str; 15] = [
    "quota",
    "process",
    "value",
    "trouble",
    "drive",
    "selection",
    "part",
    "link",
    "hash",
    "tag_name",
    "tagged",
    "path",
    "base64",
    "time",
    "count",
];

/// The definitions of the schema, and which of them and of their fields were met.
pub(crate) struct Schemas {
    definitions: Map<String, Value>,
    validators: BTreeMap<String, Validator>,
    met: BTreeSet<String>,
    fields: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Schemas {
    /// Reads the schema that is published.
    pub(crate) fn read() -> Self {
        let text = include_str!("../../../node/schema/datnode.schema.json");
        let schema: Value = serde_json::from_str(text).unwrap();
        assert!(jsonschema::meta::is_valid(&schema), "it is a schema");
        let definitions = schema["$defs"].as_object().unwrap().clone();
        let mut strict = Value::Object(definitions.clone());
        close(&mut strict);
        let validator = |name: &String| {
            let one = json!({
                "$schema": schema["$schema"], "$ref": format!("#/$defs/{name}"), "$defs": strict,
            });
            (name.clone(), jsonschema::validator_for(&one).unwrap())
        };
        let printed: BTreeMap<_, _> =
            definitions.keys().filter(is_printed).map(validator).collect();
        let any = schema["anyOf"].as_array().unwrap().iter();
        let any: BTreeSet<_> = any.filter_map(|one| name_of(one["$ref"].as_str()?)).collect();
        assert!(printed.keys().map(String::as_str).eq(any.iter().copied()), "{any:?}");
        let (met, fields) = (BTreeSet::new(), BTreeSet::new());
        Self { definitions, validators: printed, met, fields, wrong: Vec::new() }
    }

    /// Notes what is wrong; all of it is told at the end.
    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// Takes what was printed: each line is as one of these definitions says, and each of them is met.
    pub(crate) fn take(&mut self, what: &str, printed: &[u8], names: &[&str]) {
        let mut met = BTreeSet::new();
        for line in printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let text = String::from_utf8_lossy(line);
            let Ok(value) = serde_json::from_slice::<Value>(line) else {
                self.wrong(format!("{what}: no JSON: {text}"));
                continue;
            };
            let wrong: Vec<String> = names.iter().map(|name| self.errors(name, &value)).collect();
            let Some(at) = wrong.iter().position(String::is_empty) else {
                self.wrong(format!("{what}: {text}{}", wrong.concat()));
                continue;
            };
            let (name, all) = (names[at], &self.definitions);
            fields(all, name, &all[name], Some(&value), &mut self.fields);
            met.insert(name);
        }
        for name in names.iter().filter(|name| !met.contains(*name)) {
            self.wrong(format!("{what}: it prints no {name}"));
        }
        self.met.extend(met.into_iter().map(str::to_owned));
    }

    fn errors(&self, name: &str, value: &Value) -> String {
        let errors = self.validators[name].iter_errors(value);
        errors.map(|error| format!("\n  {name}{}: {error}", error.instance_path())).collect()
    }

    /// Asserts that nothing was wrong, and that all was met but what is said to be met elsewhere.
    pub(crate) fn assert_all_met(&self, elsewhere: &[&str]) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        let never: Vec<_> =
            self.validators.keys().filter(|name| !self.met.contains(*name)).collect();
        assert!(never.is_empty(), "never printed: {never:?}");
        let mut all = BTreeSet::new();
        for (name, schema) in &self.definitions {
            fields(&self.definitions, name, schema, None, &mut all);
        }
        let excused = |field: &&String| elsewhere.contains(&field.as_str());
        let never: Vec<_> = all.difference(&self.fields).filter(|field| !excused(field)).collect();
        assert!(never.is_empty(), "fields that are never printed: {never:?}");
        let needless: Vec<_> = self.fields.iter().filter(excused).collect();
        assert!(needless.is_empty(), "excused for no reason: {needless:?}");
    }
}

fn is_printed(name: &&String) -> bool {
    !PARTS.iter().any(|part| name.strip_suffix("_or_null").unwrap_or(name) == *part)
}

fn name_of(reference: &str) -> Option<&str> {
    reference.strip_prefix("#/$defs/")
}

/// Forbids fields that are not listed, wherever the schema does not say that there are more.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            // What is called `properties` may be a field of that name, which has no list of fields.
            let lists = object.get("properties").is_some_and(|fields| fields.get("$ref").is_none());
            if lists && !object.contains_key("additionalProperties") {
                object.insert("unevaluatedProperties".to_owned(), false.into());
            }
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

/// Adds the fields that a schema lists, as `definition.field.field`; those of a value, if there is one.
fn fields(
    definitions: &Map<String, Value>,
    at: &str,
    schema: &Value,
    value: Option<&Value>,
    all: &mut BTreeSet<String>,
) {
    if let Some(name) = schema["$ref"].as_str().and_then(name_of) {
        fields(definitions, name, &definitions[name], value, all);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let within = value.map(|value| value.get(name));
        if within != Some(None) {
            let at = format!("{at}.{name}");
            fields(definitions, &at, field, within.flatten(), all);
            all.insert(at);
        }
    }
    let one_of = schema["anyOf"].as_array().into_iter().flatten();
    one_of.for_each(|one| fields(definitions, at, one, value, all));
    if let Some(items) = schema.get("items") {
        match value {
            None => fields(definitions, at, items, None, all),
            Some(value) => value
                .as_array()
                .into_iter()
                .flatten()
                .for_each(|item| fields(definitions, at, items, Some(item), all)),
        }
    }
}
