//! Writes seeded constructors of every struct, for the differential tests of the messages.

use super::registry::Module;
use super::rust::{Context, FieldCode};
use super::schema::Type;

/// `arbitrary.rs`.
pub fn module(modules: &[Module]) -> Result<String, String> {
    let mut out = String::from(
        "#![allow(clippy::field_reassign_with_default, reason = \"one line per field, some under a condition\")]\n\nuse super::*;\nuse crate::wire::Uuid;\nuse crate::wire::arbitrary::Values;\n\n",
    );
    for module in modules {
        for message in &module.messages {
            let context = module.context(message)?;
            for (name, fields) in message.structs() {
                let rust = &context.names[&name];
                let mut sets = String::new();
                for code in context.fields(fields)? {
                    sets.push_str(&set(&context, &code)?);
                }
                let used = ["(version", " version ", ", version)", "&version"]
                    .iter()
                    .any(|pattern| sets.contains(pattern));
                let version = if used { "version" } else { "_version" };
                out.push_str(&format!(
                    "impl {file}::{rust} {{\npub(crate) fn arbitrary(values: &mut Values, {version}: i16) -> Self {{\n\
                     let mut it = Self::default();\n{sets}it\n}}\n}}\n\n",
                    file = module.file
                ));
            }
        }
    }
    out.push_str(&listing(modules));
    Ok(out.replacen("use crate::wire::Uuid;\n", "", usize::from(!out.contains("Uuid::"))))
}

/// A macro that hands every message to another macro: module, name.
fn listing(modules: &[Module]) -> String {
    let list: String = modules
        .iter()
        .flat_map(|module| {
            module.messages.iter().map(|message| format!("({}, {}),\n", module.file, message.name))
        })
        .collect();
    format!(
        "macro_rules! for_each_message {{\n($go:ident) => {{\n$go! {{\n{list}}}\n}};\n}}\npub(crate) use for_each_message;\n\n"
    )
}

fn set(context: &Context, code: &FieldCode) -> Result<String, String> {
    let value = value(context, &code.ty);
    let value = match code.nullable.condition(code.versions).as_str() {
        "false" => value,
        "true" => format!("values.option(|values| {value})"),
        _ => format!("values.option_if({}, |values| {value})", code.nullable.condition(context.valid)),
    };
    let mut conditions = Vec::new();
    let present = code.versions.condition(context.valid);
    if present != "true" {
        conditions.push(present);
    }
    if !code.tagged.is_empty() {
        conditions.push("values.coin()".to_owned());
    }
    let assign = format!("it.{} = {value};\n", code.name);
    Ok(match conditions.is_empty() {
        true => assign,
        false => format!("if {} {{\n{assign}}}\n", conditions.join(" && ")),
    })
}

fn value(context: &Context, ty: &Type) -> String {
    match ty {
        Type::Fixed(name) => format!("values.{name}()"),
        Type::String => "values.string()".into(),
        Type::Bytes => "values.bytes()".into(),
        Type::Records if context.message.name == "FetchResponse" => "values.records()".into(),
        Type::Records => "values.bytes()".into(),
        Type::Struct(name) => {
            let file = module_path(context);
            format!("{file}::{}::arbitrary(values, version)", context.names[name])
        }
        Type::Array(element) => format!("values.list(|values| {})", value(context, element)),
    }
}

fn module_path(context: &Context) -> String {
    let name = context.message.name.as_str();
    let api = match context.message.kind.as_str() {
        "request" => name.trim_end_matches("Request"),
        "response" => name.trim_end_matches("Response"),
        _ => name,
    };
    super::rust::snake(api)
}
