//! Writes the struct of a message: fields, defaults, `decode` and `encode`.

use std::collections::BTreeMap;

use super::registry::Module;
use super::schema::{Field, Message, Type};
use super::versions::Versions;

/// A message with what its code needs to know beyond the schema: the Rust names of its structs.
pub struct Context<'a> {
    /// The schema.
    pub message: &'a Message,
    /// Rust name of each struct.
    pub names: &'a BTreeMap<String, String>,
    /// Versions that exist.
    pub valid: Versions,
    /// Versions with compact lengths and tagged fields.
    pub flexible: Versions,
}

/// A field, resolved.
pub struct FieldCode<'a> {
    /// The schema's field.
    pub field: &'a Field,
    /// Rust name.
    pub name: String,
    /// Type.
    pub ty: Type,
    /// Versions with the field.
    pub versions: Versions,
    /// Versions in which null is legal.
    pub nullable: Versions,
    /// Versions in which it is tagged.
    pub tagged: Versions,
}

/// One file: every struct of its messages.
pub fn module(module: &Module) -> Result<String, String> {
    let mut out = String::from("use bytes::Bytes;\n\nuse crate::wire::*;\n\n");
    for message in &module.messages {
        let context = module.context(message)?;
        for (name, fields) in message.structs() {
            out.push_str(&context.structure(&name, fields)?);
        }
    }
    if let Some(api) = &module.api {
        out.push_str(&format!(
            "impl super::Request for {request} {{\n const KEY: super::ApiKey = super::ApiKey::{api};\n \
             type Response = {response};\n}}\n",
            request = api.request,
            response = api.response,
            api = api.name,
        ));
    }
    if !out.contains("Bytes>") && !out.contains(": Bytes") {
        out = out.replacen("use bytes::Bytes;\n\n", "", 1);
    }
    Ok(out)
}

/// `TopicData` → `topic_data`, keywords escaped.
pub fn snake(name: &str) -> String {
    let mut out = String::new();
    let chars: Vec<char> = name.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let after_lower = at > 0 && !chars[at - 1].is_ascii_uppercase();
        let before_lower = at > 0 && chars.get(at + 1).is_some_and(|next| next.is_ascii_lowercase());
        if c.is_ascii_uppercase() && (after_lower || before_lower) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    match out.as_str() {
        "match" | "type" | "ref" | "move" => format!("r#{out}"),
        _ => out,
    }
}

impl Context<'_> {
    /// The fields of a struct, resolved; fields outside every valid version are left out.
    pub fn fields<'f>(&self, fields: &'f [Field]) -> Result<Vec<FieldCode<'f>>, String> {
        let mut codes = Vec::new();
        for field in fields {
            let versions = Versions::parse(&field.versions)?.and(self.valid);
            if versions.is_empty() {
                continue;
            }
            codes.push(FieldCode {
                field,
                name: snake(&field.name),
                ty: Type::parse(&field.ty)?,
                versions,
                nullable: Versions::parse_optional(field.nullable_versions.as_ref())?.and(versions),
                tagged: Versions::parse_optional(field.tagged_versions.as_ref())?.and(versions),
            });
        }
        Ok(codes)
    }

    fn structure(&self, schema_name: &str, fields: &[Field]) -> Result<String, String> {
        let name = &self.names[schema_name];
        let top = schema_name == self.message.name;
        let codes = self.fields(fields)?;
        let mut out = String::new();
        if top {
            let (first, last) = (self.valid.first, self.valid.last);
            out.push_str(&format!("/// Versions {first} to {last}"));
            match self.flexible.is_empty() {
                true => out.push_str(", never flexible.\n"),
                false => out.push_str(&format!(", flexible from {}.\n", self.flexible.first)),
            }
        } else {
            out.push_str(&format!("/// Part of {}.\n", self.message.name));
        }
        let mut defaults = Vec::new();
        for code in &codes {
            defaults.push(self.default_of(code)?);
        }
        let derived = defaults.iter().all(|default| is_type_default(default));
        let derive = if derived { ", Default" } else { "" };
        out.push_str(&format!("#[derive(Clone, Debug{derive}, PartialEq)]\npub struct {name} {{\n"));
        for code in &codes {
            out.push_str(&format!(
                "/// {}\npub {}: {},\n",
                self.field_facts(code),
                code.name,
                self.rust_type(code)
            ));
        }
        out.push_str("}\n\n");
        if !derived {
            out.push_str(&format!("impl Default for {name} {{\nfn default() -> Self {{\nSelf {{\n"));
            for (code, default) in codes.iter().zip(&defaults) {
                out.push_str(&format!("{}: {default},\n", code.name));
            }
            out.push_str("}\n}\n}\n\n");
        }
        let least = self.size_min(fields)?;
        out.push_str(&format!("impl {name} {{\n"));
        if self.is_element(schema_name)? {
            out.push_str(&format!(
                "/// Fewest bytes that a value takes in any version.\npub(crate) const SIZE_MIN: usize = {least};\n\n"
            ));
        }
        out.push_str(&self.decode(&codes, top)?);
        out.push_str(&self.encode(&codes, top)?);
        out.push_str("}\n\n");
        if top {
            out.push_str(&format!(
                "impl super::Message for {name} {{\nconst NAME: &'static str = \"{name}\";\n\
                 const VERSION_MIN: i16 = {};\nconst VERSION_MAX: i16 = {};\n\
                 fn decode(buf: &mut Decoder, version: i16) -> Result<Self, DecodeError> {{ Self::decode(buf, version) }}\n\
                 fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> {{ self.encode(out, version) }}\n\
                 }}\n\n",
                self.valid.first, self.valid.last
            ));
        }
        Ok(out)
    }

    fn field_facts(&self, code: &FieldCode) -> String {
        let show = |versions: Versions| {
            if versions.covers(self.valid) {
                "all versions".to_owned()
            } else if versions.first == versions.last {
                format!("version {}", versions.first)
            } else {
                format!("versions {} to {}", versions.first, versions.last)
            }
        };
        let mut facts = format!(
            "`{}` {}, {}",
            code.field.name,
            code.field.ty.replace("[]", "list of "),
            show(code.versions)
        );
        if !code.nullable.is_empty() {
            facts.push_str(&format!(
                "; null allowed{}",
                if code.nullable == code.versions {
                    String::new()
                } else {
                    format!(" in {}", show(code.nullable))
                }
            ));
        }
        if let Some(tag) = code.field.tag {
            facts.push_str(&format!("; tag {tag}"));
        }
        if code.field.ignorable && !code.versions.covers(self.valid) {
            facts.push_str("; dropped silently elsewhere");
        }
        facts.push('.');
        facts
    }

    fn is_fetched_records(&self) -> bool {
        self.message.name == "FetchResponse"
    }

    fn bare_type(&self, ty: &Type) -> String {
        match ty {
            Type::Fixed("int8") => "i8".into(),
            Type::Fixed("int16") => "i16".into(),
            Type::Fixed("uint16") => "u16".into(),
            Type::Fixed("int32") => "i32".into(),
            Type::Fixed("int64") => "i64".into(),
            Type::Fixed("float64") => "f64".into(),
            Type::Fixed("uuid") => "Uuid".into(),
            Type::Fixed(other) => (*other).into(),
            Type::String => "Str".into(),
            Type::Bytes => "Bytes".into(),
            Type::Records if self.is_fetched_records() => "Records".into(),
            Type::Records => "Bytes".into(),
            Type::Struct(name) => self.names[name].clone(),
            Type::Array(element) => format!("Vec<{}>", self.bare_type(element)),
        }
    }

    fn rust_type(&self, code: &FieldCode) -> String {
        let bare = self.bare_type(&code.ty);
        if code.nullable.is_empty() { bare } else { format!("Option<{bare}>") }
    }

    /// The schema's default as a Rust expression.
    pub fn default_of(&self, code: &FieldCode) -> Result<String, String> {
        let stated = match &code.field.default {
            None => None,
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let nullable = !code.nullable.is_empty();
        if stated.as_deref() == Some("null") {
            return if nullable {
                Ok("None".into())
            } else {
                Err(format!("{}: default null", code.field.name))
            };
        }
        let bare = match (&code.ty, stated) {
            (Type::Fixed("bool"), stated) => stated.unwrap_or_else(|| "false".into()).to_lowercase(),
            (Type::Fixed("uuid"), None) => "Uuid::ZERO".into(),
            (Type::Fixed("float64"), stated) => format!("{:?}", parse_number(stated)? as f64),
            (Type::Fixed("int8" | "int16" | "uint16" | "int32" | "int64"), stated) => {
                match parse_number(stated)? {
                    n if n == i64::from(i32::MIN) => "i32::MIN".into(),
                    n if n == i64::from(i32::MAX) => "i32::MAX".into(),
                    i64::MAX => "i64::MAX".into(),
                    n => n.to_string(),
                }
            }
            (Type::String, None) => "Str::default()".into(),
            (Type::String, Some(text)) if text.is_empty() => "Str::default()".into(),
            (Type::String, Some(text)) => format!("Str::from_static({text:?})"),
            (Type::Records, None) if nullable => return Ok("None".into()),
            (Type::Records, None) if self.is_fetched_records() => "Records::default()".into(),
            (Type::Bytes | Type::Records, None) => "Bytes::new()".into(),
            (Type::Array(_), None) => "Vec::new()".into(),
            (Type::Struct(name), None) => format!("{}::default()", self.names[name]),
            (ty, stated) => return Err(format!("{}: default {stated:?} of {ty:?}", code.field.name)),
        };
        Ok(if nullable { format!("Some({bare})") } else { bare })
    }

    /// Whether a list of this struct exists in the message.
    fn is_element(&self, name: &str) -> Result<bool, String> {
        let element = Type::Array(Box::new(Type::Struct(name.into())));
        for (_, fields) in self.message.structs() {
            if self.fields(fields)?.iter().any(|code| code.ty == element) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fewest bytes of a struct in any version, at least one.
    fn size_min(&self, fields: &[Field]) -> Result<usize, String> {
        let mut least = usize::MAX;
        for version in self.valid.first..=self.valid.last {
            least = least.min(self.size_at(fields, version)?);
        }
        Ok(least.max(1))
    }

    fn size_at(&self, fields: &[Field], version: i16) -> Result<usize, String> {
        let flexible = self.flexible.first <= version && version <= self.flexible.last;
        let mut size = usize::from(flexible);
        for code in self.fields(fields)? {
            let inside = |versions: Versions| versions.first <= version && version <= versions.last;
            if !inside(code.versions) || inside(code.tagged) {
                continue;
            }
            size += match &code.ty {
                Type::Fixed(name) => fixed_size(name),
                Type::String => {
                    if flexible {
                        1
                    } else {
                        2
                    }
                }
                Type::Bytes | Type::Records | Type::Array(_) => {
                    if flexible {
                        1
                    } else {
                        4
                    }
                }
                Type::Struct(_) if !code.nullable.is_empty() => 1,
                Type::Struct(name) => self.size_at(self.fields_of(name)?, version)?,
            };
        }
        Ok(size)
    }

    /// The fields of a struct by its schema name.
    pub fn fields_of(&self, name: &str) -> Result<&[Field], String> {
        let found = self.message.structs().into_iter().find(|(candidate, _)| candidate == name);
        found.map(|(_, fields)| fields).ok_or_else(|| format!("{}: no struct {name}", self.message.name))
    }

    fn element_size_min(&self, ty: &Type) -> String {
        match ty {
            Type::Fixed(name) => fixed_size(name).to_string(),
            Type::Struct(name) => format!("{}::SIZE_MIN", self.names[name]),
            _ => "1".into(),
        }
    }

    fn flexible_flag(&self, code: &FieldCode) -> String {
        match code.field.flexible_versions.as_deref() {
            Some("none") => "false".into(),
            _ if self.flexible.is_empty() => "false".into(),
            _ if self.flexible.covers(self.valid) => "true".into(),
            _ => "flexible".into(),
        }
    }

    fn check_version(&self, top: bool, error: &str) -> String {
        if !top {
            return String::new();
        }
        format!(
            "if !({}..={}).contains(&version) {{\nreturn Err({error}::UnsupportedVersion {{ message: \"{}\", version }});\n}}\n",
            self.valid.first, self.valid.last, self.message.name
        )
    }

    fn bind_flexible(&self, body: &str) -> String {
        if !body.contains("flexible") {
            return String::new();
        }
        format!("let flexible = {};\n", self.flexible.condition(self.valid))
    }

    fn when_flexible(&self, statements: &str) -> String {
        if self.flexible.covers(self.valid) {
            return statements.to_owned();
        }
        format!("if flexible {{\n{statements}}}\n")
    }

    fn decode(&self, codes: &[FieldCode], top: bool) -> Result<String, String> {
        let mut body = String::new();
        let mut tags = String::new();
        for code in codes {
            let default = self.default_of(code)?;
            let plain = plain_versions(code);
            let read = self.read_field(code);
            let mutable = if code.tagged.is_empty() { "" } else { "mut " };
            body.push_str(&format!("let {mutable}{}: {} = ", code.name, self.rust_type(code)));
            body.push_str(&match plain.condition(self.valid).as_str() {
                "true" => format!("{read};\n"),
                "false" => format!("{default};\n"),
                condition => format!("if {condition} {{ {read} }} else {{ {default} }};\n"),
            });
            if let Some(tag) = code.field.tag {
                let guard = match code.tagged.condition(self.valid.and(self.flexible)).as_str() {
                    "true" => String::new(),
                    condition => format!(" if {condition}"),
                };
                tags.push_str(&format!("{tag}{guard} => {} = {read},\n", code.name));
            }
        }
        if !self.flexible.is_empty() {
            let handler = if tags.is_empty() {
                "buf.skip_tagged_fields()?;\n".to_owned()
            } else {
                format!(
                    "buf.tagged_fields(|buf, tag| {{\nmatch tag {{\n{tags}_ => return Ok(false),\n}}\nOk(true)\n}})?;\n"
                )
            };
            body.push_str(&self.when_flexible(&handler));
        }
        let names: Vec<&str> = codes.iter().map(|code| code.name.as_str()).collect();
        let version =
            if top || body.contains("version") || body.contains("flexible") { "version" } else { "_version" };
        Ok(format!(
            "/// Reads the value in the encoding of `version`.\n\
             pub fn decode(buf: &mut Decoder, {version}: i16) -> Result<Self, DecodeError> {{\n{}{}{body}Ok(Self {{ {} }})\n}}\n\n",
            self.check_version(top, "DecodeError"),
            self.bind_flexible(&body),
            names.join(", ")
        ))
    }

    fn read_field(&self, code: &FieldCode) -> String {
        match code.nullable.condition(code.versions).as_str() {
            "false" => self.read(&code.ty, &self.flexible_flag(code), false),
            "true" => self.read(&code.ty, &self.flexible_flag(code), true),
            _ => format!(
                "if {} {{ {} }} else {{ Some({}) }}",
                code.nullable.condition(self.valid),
                self.read(&code.ty, &self.flexible_flag(code), true),
                self.read(&code.ty, &self.flexible_flag(code), false)
            ),
        }
    }

    fn read(&self, ty: &Type, flexible: &str, nullable: bool) -> String {
        let prefix = if nullable { "nullable_" } else { "" };
        match ty {
            Type::Fixed(name) => format!("buf.{name}()?"),
            Type::String => format!("buf.{prefix}string({flexible})?"),
            Type::Bytes => format!("buf.{prefix}bytes({flexible})?"),
            Type::Records if self.is_fetched_records() => match nullable {
                true => format!("buf.nullable_bytes({flexible})?.map(Records::from)"),
                false => format!("Records::from(buf.bytes({flexible})?)"),
            },
            Type::Records => format!("buf.{prefix}bytes({flexible})?"),
            Type::Struct(name) if nullable => {
                format!("buf.nullable_struct(|buf| {}::decode(buf, version))?", self.names[name])
            }
            Type::Struct(name) => format!("{}::decode(buf, version)?", self.names[name]),
            Type::Array(element) => {
                let read = self.read(element, flexible, false);
                let read = match read.strip_suffix('?') {
                    Some(call) => call.to_owned(),
                    None => format!("Ok({read})"),
                };
                format!("buf.{prefix}array({flexible}, {}, |buf| {read})?", self.element_size_min(element))
            }
        }
    }

    fn encode(&self, codes: &[FieldCode], top: bool) -> Result<String, String> {
        let mut body = String::new();
        let mut tags: BTreeMap<u32, String> = BTreeMap::new();
        for code in codes {
            let set = is_set(code, &self.default_of(code)?);
            let write = self.write_field(code);
            let refuse = format!(
                "return Err(EncodeError::FieldNotInVersion {{ field: \"{}\", version }});\n",
                code.field.name
            );
            let refusable = !code.field.ignorable && !code.versions.covers(self.valid);
            match plain_versions(code).condition(self.valid).as_str() {
                "true" => body.push_str(&write),
                "false" if refusable => {
                    let absence = code.versions.absence(self.valid);
                    body.push_str(&format!("if {absence} && {set} {{\n{refuse}}}\n"));
                }
                "false" => {}
                condition if refusable => {
                    body.push_str(&format!("if {condition} {{\n{write}}} else if {set} {{\n{refuse}}}\n"));
                }
                condition => body.push_str(&format!("if {condition} {{\n{write}}}\n")),
            }
            if let Some(tag) = code.field.tag {
                let within = self.valid.and(self.flexible);
                let guard = match code.tagged.condition(within).as_str() {
                    "true" => String::new(),
                    condition => format!("{condition} && "),
                };
                tags.insert(
                    tag,
                    format!("if {guard}{set} {{\ntagged.add({tag}, |out| {{\n{write}Ok(())\n}})?;\n}}\n"),
                );
            }
        }
        if !self.flexible.is_empty() {
            let writer = if tags.is_empty() {
                "out.no_tagged_fields();\n".to_owned()
            } else {
                let adds: String = tags.into_values().collect();
                format!("let mut tagged = TaggedFields::default();\n{adds}out.tagged_fields(tagged)?;\n")
            };
            body.push_str(&self.when_flexible(&writer));
        }
        let version =
            if top || body.contains("version") || body.contains("flexible") { "version" } else { "_version" };
        Ok(format!(
            "/// Writes the value in the encoding of `version`.\n\
             pub fn encode(&self, out: &mut Encoder, {version}: i16) -> Result<(), EncodeError> {{\n{}{}{body}Ok(())\n}}\n",
            self.check_version(top, "EncodeError"),
            self.bind_flexible(&body),
        ))
    }

    fn write_field(&self, code: &FieldCode) -> String {
        let flexible = self.flexible_flag(code);
        let name = &code.name;
        let nullable = !code.nullable.is_empty();
        let mut out = String::new();
        if nullable && code.nullable.condition(code.versions) != "true" {
            out.push_str(&format!(
                "if self.{name}.is_none() && {} {{\nreturn Err(EncodeError::NullField {{ field: \"{}\", version }});\n}}\n",
                code.nullable.absence(self.valid),
                code.field.name
            ));
        }
        let prefix = if nullable { "nullable_" } else { "" };
        let value = if nullable { format!("self.{name}.as_ref()") } else { format!("&self.{name}") };
        out.push_str(&match &code.ty {
            Type::Fixed(kind) => format!("out.{kind}(self.{name});\n"),
            Type::String => format!("out.{prefix}string({value}, {flexible})?;\n"),
            Type::Bytes => format!("out.{prefix}bytes({value}, {flexible})?;\n"),
            Type::Records if self.is_fetched_records() => {
                format!("out.{prefix}records({value}, {flexible})?;\n")
            }
            Type::Records => format!("out.{prefix}bytes({value}, {flexible})?;\n"),
            Type::Struct(_) if nullable => {
                format!("out.nullable_struct({value}, |out, value| value.encode(out, version))?;\n")
            }
            Type::Struct(_) => format!("self.{name}.encode(out, version)?;\n"),
            Type::Array(element) => {
                let each = match element.as_ref() {
                    Type::Fixed(kind) => format!("out.{kind}(*value);"),
                    Type::Struct(_) => "value.encode(out, version)?;".into(),
                    Type::String => format!("out.string(value, {flexible})?;"),
                    _ => format!("out.bytes(value, {flexible})?;"),
                };
                let (len, iter) = match nullable {
                    true => (
                        format!("self.{name}.as_ref().map(Vec::len)"),
                        format!("self.{name}.iter().flatten()"),
                    ),
                    false => (format!("self.{name}.len()"), format!("&self.{name}")),
                };
                format!("out.{prefix}array_len({len}, {flexible})?;\nfor value in {iter} {{\n{each}\n}}\n")
            }
        });
        out
    }
}

/// Versions in which the field stands in the body, not among the tagged fields.
fn plain_versions(code: &FieldCode) -> Versions {
    if code.tagged.is_empty() {
        return code.versions;
    }
    assert!(code.tagged == code.versions, "{}: tagged in some of its versions only", code.field.name);
    Versions::NONE
}

/// Whether the expression is what `#[derive(Default)]` gives.
fn is_type_default(default: &str) -> bool {
    default == "0"
        || ["None", "false", "0.0", "Uuid::ZERO", "Vec::new()", "Bytes::new()"].contains(&default)
        || (default.ends_with("::default()") && !default.starts_with("Some("))
}

/// A condition that holds when the field differs from its default.
fn is_set(code: &FieldCode, default: &str) -> String {
    let name = &code.name;
    match default {
        "None" => format!("self.{name}.is_some()"),
        "false" => format!("self.{name}"),
        "true" => format!("!self.{name}"),
        "Vec::new()" | "Str::default()" | "Bytes::new()" => format!("!self.{name}.is_empty()"),
        _ => format!("self.{name} != {default}"),
    }
}

fn parse_number(stated: Option<String>) -> Result<i64, String> {
    let Some(text) = stated else { return Ok(0) };
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|e| format!("default {text:?}: {e}"))
}

fn fixed_size(name: &str) -> usize {
    match name {
        "bool" | "int8" => 1,
        "int16" | "uint16" => 2,
        "int32" => 4,
        "int64" | "float64" => 8,
        "uuid" => 16,
        other => unreachable!("no fixed type {other}"),
    }
}
