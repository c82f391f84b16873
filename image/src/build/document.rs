//! The configuration of an image that is being built: a JSON document, so that what
//! the base image says and this program does not know is kept.

use serde_json::{Map, Value, json};

/// What a history says was done at, until that is known.
pub(super) const NOW: &str = "now";

/// A configuration (image-spec, "Image Configuration", and docker's additions to it).
#[derive(Debug, Clone)]
pub(super) struct Document {
    config: Map<String, Value>,
    rest: Map<String, Value>,
}

/// What docker kept for itself in older configurations.
const FORGOTTEN: [&str; 6] =
    ["container", "container_config", "docker_version", "id", "parent", "throwaway"];

impl Document {
    /// The configuration of nothing at all.
    pub fn empty() -> Self {
        Self::of(json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Env": [DEFAULT_PATH] },
        }))
    }

    /// The configuration of a base image.
    pub fn of(document: Value) -> Self {
        let object = |value| match value {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let mut rest = object(Some(document));
        for key in FORGOTTEN {
            rest.remove(key);
        }
        Self { config: object(rest.remove("config")), rest }
    }

    /// A text of the configuration.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.config.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// A list of texts.
    pub fn list(&self, key: &str) -> Vec<String> {
        let list = self.config.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    }

    /// Replaces an entry.
    pub fn set(&mut self, key: &str, value: Value) {
        self.config.insert(key.to_owned(), value);
    }

    /// Removes an entry.
    pub fn unset(&mut self, key: &str) {
        self.config.remove(key);
    }

    /// Adds a key to a set, or a pair to a table.
    pub fn insert(&mut self, table: &str, key: &str, value: Value) {
        let found = self.config.entry(table).or_insert_with(|| json!({}));
        if !found.is_object() {
            *found = json!({});
        }
        if let Value::Object(map) = found {
            map.insert(key.to_owned(), value);
        }
    }

    /// Appends to a list.
    pub fn push(&mut self, key: &str, value: &str) {
        let mut list = self.list(key);
        list.push(value.to_owned());
        self.set(key, json!(list));
    }

    /// The variables.
    pub fn env(&self) -> Vec<(String, String)> {
        let split = |text: String| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text, String::new()),
        };
        self.list("Env").into_iter().map(split).collect()
    }

    /// The value of a variable.
    pub fn var(&self, name: &str) -> Option<String> {
        self.env().into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// Sets a variable where it stands, or behind the others.
    pub fn set_var(&mut self, name: &str, value: &str) {
        let mut list = self.list("Env");
        let prefix = format!("{name}=");
        let text = format!("{name}={value}");
        match list.iter_mut().find(|old| old.starts_with(&prefix)) {
            Some(old) => *old = text,
            None => list.push(text),
        }
        self.set("Env", json!(list));
    }

    /// What runs commands that are not lists.
    pub fn shell(&self) -> Vec<String> {
        let own = self.list("Shell");
        if own.is_empty() { ["/bin/sh", "-c"].map(str::to_owned).to_vec() } else { own }
    }

    /// Who made it.
    pub fn set_author(&mut self, author: &str) {
        self.rest.insert("author".to_owned(), json!(author));
    }

    /// Notes a step that led to it.
    pub fn add_history(&mut self, created: &str, by: &str, empty: bool) {
        let mut step = json!({ "created": created, "created_by": by });
        if empty {
            step["empty_layer"] = json!(true);
        }
        let history = self.rest.entry("history").or_insert_with(|| json!([]));
        match history.as_array_mut() {
            Some(steps) => steps.push(step),
            None => *history = json!([step]),
        }
    }

    /// Steps that led to it so far, those that made layers.
    pub fn layers_in_history(&self) -> Option<usize> {
        let steps = self.rest.get("history")?.as_array()?;
        Some(steps.iter().filter(|step| step["empty_layer"] != json!(true)).count())
    }

    /// Tells of layers that the base image's history does not.
    pub fn pad_history(&mut self, layers: usize) {
        for _ in self.layers_in_history().unwrap_or(0)..layers {
            self.add_history(NOW, "", false);
        }
    }

    /// The whole document, of these layers and made at this time.
    pub fn finish(&self, diff_ids: &[String], created: &str) -> Value {
        let mut map = self.rest.clone();
        map.insert("config".to_owned(), Value::Object(self.config.clone()));
        map.insert("created".to_owned(), json!(created));
        map.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
        if let Some(steps) = map.get_mut("history").and_then(Value::as_array_mut) {
            for step in steps.iter_mut().filter(|step| step["created"] == json!(NOW)) {
                step["created"] = json!(created);
            }
        }
        Value::Object(map)
    }
}

/// Where programs are looked for, if nobody says anything else.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_their_place() {
        let mut document =
            Document::of(json!({ "config": { "Env": ["A=1", "B=2"] }, "id": "x" }));
        document.set_var("A", "3");
        document.set_var("C", "");
        assert_eq!(document.list("Env"), ["A=3", "B=2", "C="]);
        assert_eq!(document.var("C").as_deref(), Some(""));
        let done = document.finish(&[], "1970-01-01T00:00:00Z");
        assert_eq!(
            (&done["id"], &done["created"]),
            (&Value::Null, &json!("1970-01-01T00:00:00Z"))
        );
    }

    #[test]
    fn the_history_tells_of_every_layer() {
        let mut document = Document::of(json!({}));
        document.pad_history(2);
        document.add_history(NOW, "ENV A=1", true);
        document.add_history("then", "RUN x", false);
        assert_eq!(document.layers_in_history(), Some(3));
        let done = document.finish(&[], "t");
        assert_eq!(done["history"][2]["created"], "t");
        assert_eq!(done["history"][3]["created"], "then");
    }
}
