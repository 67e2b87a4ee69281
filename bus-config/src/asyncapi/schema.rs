//! The messages as the descriptor has them: their names and comments, the JSON Schema of those that go as JSON, and the
//! sources of those that go as protobuf only.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use serde_json::{Map, Value, json};

/// What may be sent in JSON as well: the package that is public.
const JSON_PACKAGE: &str = "holdfast.intake.v1";
/// A view of other messages, which nobody sends.
const NEVER_SENT: &str = "holdfast.cmd.v1.PlacedCommand";
/// Numbers of fields in `FileDescriptorProto` and `DescriptorProto`, which the paths of comments are made of.
const FILE_MESSAGE: i32 = 4;
const MESSAGE_FIELD: i32 = 2;

/// All messages that are sent by themselves.
pub(super) struct Messages {
    set: FileDescriptorSet,
    sent: BTreeMap<String, Sent>,
}

/// A message that is sent by itself.
pub(super) struct Sent {
    pub(super) full_name: String,
    pub(super) summary: String,
    /// Id of the schema with its source.
    pub(super) package: String,
    pub(super) speaks_json: bool,
    file: String,
}

impl Messages {
    /// Reads the descriptor of this build.
    pub(super) fn read() -> Self {
        let set = FileDescriptorSet::decode(proto::DESCRIPTOR).expect("made by this build");
        let used: Vec<String> = set.file.iter().flat_map(|file| &file.message_type).flat_map(parts).collect();
        let mut sent = BTreeMap::new();
        for file in &set.file {
            for (index, message) in (0..).zip(&file.message_type) {
                let full_name = format!("{}.{}", file.package(), message.name());
                // A message that others are made of is not sent by itself.
                if used.contains(&full_name)
                    || full_name == NEVER_SENT
                    || file.package() == "holdfast.common.v1"
                {
                    continue;
                }
                let row = Sent {
                    summary: comment(file, &[FILE_MESSAGE, index]),
                    package: schema_id(file),
                    speaks_json: file.package() == JSON_PACKAGE,
                    file: file.name().to_owned(),
                    full_name,
                };
                sent.insert(message.name().to_owned(), row);
            }
        }
        Self { set, sent }
    }

    /// Panics: there is no such message; the test that renders the document finds it.
    pub(super) fn get(&self, name: &str) -> &Sent {
        self.sent.get(name).unwrap_or_else(|| panic!("no message {name} is sent by itself"))
    }

    /// Names of the messages of a file, for example `rep/v1/rep`.
    pub(super) fn of_file(&self, file: &str) -> Vec<String> {
        let path = format!("holdfast/{file}.proto");
        self.sent.iter().filter(|(_, sent)| sent.file == path).map(|(name, _)| name.clone()).collect()
    }

    /// By id: the sources of all files, and the JSON Schema of what may go as JSON with all that it is made of.
    pub(super) fn schemas(&self) -> Map<String, Value> {
        let mut schemas = Map::new();
        for (path, source) in proto::SOURCES {
            let file =
                self.set.file.iter().find(|file| file.name() == path).expect("compiled into the descriptor");
            let schema =
                json!({ "schemaFormat": "application/vnd.google.protobuf;version=3", "schema": source });
            schemas.insert(schema_id(file), schema);
        }
        let mut wanted: Vec<String> =
            self.sent.values().filter(|sent| sent.speaks_json).map(|sent| sent.full_name.clone()).collect();
        while let Some(name) = wanted.pop() {
            if schemas.contains_key(&name) {
                continue;
            }
            schemas.insert(name.clone(), self.json_schema(&name, &mut wanted));
        }
        schemas
    }

    fn json_schema(&self, full_name: &str, wanted: &mut Vec<String>) -> Value {
        let found = self.set.file.iter().find_map(|file| {
            let mut messages = (0..).zip(&file.message_type);
            let named =
                |message: &DescriptorProto| format!("{}.{}", file.package(), message.name()) == full_name;
            messages.find(|(_, message)| named(message)).map(|(index, message)| (file, index, message))
        });
        let (file, index, message) = found.expect("a field's type is in the descriptor");
        let mut properties = Map::new();
        for (field_index, field) in (0..).zip(&message.field) {
            let mut property = self.json_field(field, wanted);
            let comment = comment(file, &[FILE_MESSAGE, index, MESSAGE_FIELD, field_index]);
            if !comment.is_empty() {
                property["description"] = comment.into();
            }
            properties.insert(json_name(field), property);
        }
        let mut schema = json!({
            "type": "object",
            "title": message.name(),
            "description": comment(file, &[FILE_MESSAGE, index]),
            "properties": properties,
            "additionalProperties": false,
        });
        let exclusive = one_of_pairs(message);
        if !exclusive.is_empty() {
            schema["allOf"] = exclusive.into();
        }
        schema
    }

    /// As protobuf's JSON has it: whole numbers of 64 bits as text, words of an enum by name, bytes in base64.
    fn json_field(&self, field: &FieldDescriptorProto, wanted: &mut Vec<String>) -> Value {
        let type_name = field.type_name().trim_start_matches('.').to_owned();
        let one = match field.r#type() {
            Type::Message | Type::Group => {
                let reference = json!({ "$ref": format!("#/components/schemas/{type_name}") });
                wanted.push(type_name);
                // A description beside a reference would be ignored.
                json!({ "allOf": [reference] })
            }
            Type::Enum => json!({ "type": "string", "enum": self.words_of(&type_name) }),
            Type::Bool => json!({ "type": "boolean" }),
            Type::Double | Type::Float => json!({ "type": "number" }),
            Type::Int32 | Type::Sint32 | Type::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Type::Uint32 | Type::Fixed32 => json!({ "type": "integer", "minimum": 0 }),
            Type::Int64 | Type::Sint64 | Type::Sfixed64 => {
                json!({ "type": "string", "pattern": "^-?[0-9]+$" })
            }
            Type::Uint64 | Type::Fixed64 => json!({ "type": "string", "pattern": "^[0-9]+$" }),
            Type::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Type::String => json!({ "type": "string" }),
        };
        match field.label() {
            Label::Repeated => json!({ "type": "array", "items": one }),
            _ => one,
        }
    }

    fn words_of(&self, full_name: &str) -> Vec<String> {
        let named = |file: &FileDescriptorProto, words: &EnumDescriptorProto| {
            format!("{}.{}", file.package(), words.name()) == full_name
        };
        let all = self.set.file.iter().flat_map(|file| file.enum_type.iter().map(move |words| (file, words)));
        let mut found = all.filter(|(file, words)| named(file, words));
        let (_, words) = found.next().expect("a field's type is in the descriptor");
        words.value.iter().map(|word| word.name().to_owned()).collect()
    }
}

/// Types of the fields of a message.
fn parts(message: &DescriptorProto) -> Vec<String> {
    message.field.iter().map(|field| field.type_name().trim_start_matches('.').to_owned()).collect()
}

/// `holdfast.cmd.v1.cloud`: of a file, since two files may be of one package.
fn schema_id(file: &FileDescriptorProto) -> String {
    file.name().trim_end_matches(".proto").replace('/', ".")
}

/// No two fields of a oneof together.
fn one_of_pairs(message: &DescriptorProto) -> Vec<Value> {
    let mut pairs = Vec::new();
    for (index, field) in message.field.iter().enumerate().filter(|(_, field)| field.oneof_index.is_some()) {
        for other in &message.field[index + 1..] {
            if other.oneof_index == field.oneof_index {
                pairs.push(json!({ "not": { "required": [json_name(field), json_name(other)] } }));
            }
        }
    }
    pairs
}

/// In camel case, as protobuf's JSON has it.
fn json_name(field: &FieldDescriptorProto) -> String {
    let mut name = String::new();
    for (index, word) in field.name().split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index > 0 => name.push(first.to_ascii_uppercase()),
            Some(first) => name.push(first),
            None => {}
        }
        name.extend(letters);
    }
    name
}

/// The comment above a thing in its file, on one line.
fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let mut found = locations.filter(|location| location.path == path);
    let text = found.next().map(|location| location.leading_comments().to_owned()).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
