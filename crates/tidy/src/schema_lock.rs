//! The lock of the wire: every field and every word of an enum with its number, one per line. A number keeps its
//! meaning for ever; what goes is reserved.

use std::collections::BTreeMap;

use anyhow::Context as _;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Renders a descriptor set: `field holdfast.cmd.v1.FreezeGuest 3 instance_id string`, `word …`, `reserved …`.
pub fn render_schema(descriptor: &[u8]) -> anyhow::Result<String> {
    let set = FileDescriptorSet::decode(descriptor).context("the descriptor set cannot be read")?;
    let mut lines = Vec::new();
    for file in &set.file {
        for message in &file.message_type {
            render_message(&mut lines, file.package(), message);
        }
        for words in &file.enum_type {
            render_enum(&mut lines, file.package(), words);
        }
    }
    lines.sort();
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// What a program that was built with `old` would misread: numbers that changed their meaning, or went without being
/// reserved.
#[must_use]
pub fn breaking_changes(old: &str, new: &str) -> Vec<String> {
    let new = entries(new);
    let mut changes = Vec::new();
    for (key, meaning) in entries(old) {
        match new.get(&key) {
            Some(now) if *now == meaning || *now == RESERVED => {}
            Some(now) => changes.push(format!("{key} was {meaning} and is now {now}")),
            None => changes.push(format!("{key} ({meaning}) is gone; reserve its number")),
        }
    }
    changes
}

const RESERVED: &str = "reserved";

/// Meaning by owner and number, read as `TYPE OWNER NUMBER MEANING…`.
fn entries(text: &str) -> BTreeMap<String, &str> {
    let lines = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(' ')?;
        let (owner, rest) = rest.split_once(' ')?;
        let (number, meaning) = rest.split_once(' ')?;
        Some((format!("{owner} {number}"), meaning))
    });
    lines.collect()
}

fn render_message(lines: &mut Vec<String>, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        lines.push(format!("field {name} {} {} {}", field.number(), field.name(), shape(field)));
    }
    for range in &message.reserved_range {
        // The end is exclusive.
        lines.extend((range.start()..range.end()).map(|number| format!("field {name} {number} {RESERVED}")));
    }
    for nested in &message.nested_type {
        render_message(lines, &name, nested);
    }
    for words in &message.enum_type {
        render_enum(lines, &name, words);
    }
}

fn render_enum(lines: &mut Vec<String>, scope: &str, words: &EnumDescriptorProto) {
    let name = format!("{scope}.{}", words.name());
    for word in &words.value {
        lines.push(format!("word {name} {} {}", word.number(), word.name()));
    }
    for range in &words.reserved_range {
        // The end is inclusive here.
        lines.extend((range.start()..=range.end()).map(|number| format!("word {name} {number} {RESERVED}")));
    }
}

fn shape(field: &FieldDescriptorProto) -> String {
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    let mut text = if field.label() == Label::Repeated { format!("repeated {kind}") } else { kind };
    if field.oneof_index.is_some() && !field.proto3_optional() {
        text.push_str(" oneof");
    }
    text
}
