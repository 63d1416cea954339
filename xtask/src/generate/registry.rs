//! Groups messages into files and writes what knows all of them: the module list, `ApiKey`, `RequestBody`, `ResponseBody`.

use std::collections::BTreeMap;

use super::rust::{Context, snake};
use super::schema::Message;

/// One generated file.
pub struct Module {
    /// File and module name.
    pub file: String,
    /// The API, unless it is a plain message.
    pub api: Option<Api>,
    /// Request and response, or the plain message.
    pub messages: Vec<Message>,
    /// Rust name of each struct, per message.
    names: BTreeMap<String, BTreeMap<String, String>>,
}

/// An API.
pub struct Api {
    /// Number on the wire.
    pub key: i16,
    /// Name, like `Produce`.
    pub name: String,
    /// Rust name of the request.
    pub request: String,
    /// Rust name of the response.
    pub response: String,
}

impl Module {
    /// What the code of one of the module's messages needs.
    pub fn context<'a>(&'a self, message: &'a Message) -> Result<Context<'a>, String> {
        let valid = message.valid()?;
        Ok(Context {
            message,
            names: &self.names[&message.name],
            valid,
            flexible: message.flexible()?.and(valid),
        })
    }
}

/// Sorts messages into files: APIs by key, plain messages after them.
pub fn group(messages: &[Message]) -> Result<Vec<Module>, String> {
    let mut by_key: BTreeMap<(i16, String), Vec<Message>> = BTreeMap::new();
    for message in messages {
        let group = match message.api_key {
            Some(key) => {
                (key, message.name.trim_end_matches("Request").trim_end_matches("Response").to_owned())
            }
            None => (i16::MAX, message.name.clone()),
        };
        by_key.entry(group).or_default().push(message.clone());
    }
    let mut modules = Vec::new();
    for ((key, name), messages) in by_key {
        let api = (key != i16::MAX).then(|| Api {
            key,
            request: format!("{name}Request"),
            response: format!("{name}Response"),
            name: name.clone(),
        });
        if api.is_some() && messages.len() != 2 {
            return Err(format!(
                "{name}: {} messages, a request and a response were expected",
                messages.len()
            ));
        }
        modules.push(Module { file: snake(&name), api, names: names(&messages), messages });
    }
    Ok(modules)
}

/// Structs keep the schema's names; one declared by request and response alike gets `Request` or `Response` before it.
fn names(messages: &[Message]) -> BTreeMap<String, BTreeMap<String, String>> {
    let declared =
        |message: &Message, name: &str| message.structs().iter().any(|(candidate, _)| candidate == name);
    messages
        .iter()
        .map(|message| {
            let own = message.structs().into_iter().map(|(name, _)| {
                let shared = messages.iter().filter(|other| declared(other, &name)).count() > 1;
                let side = if message.kind == "request" { "Request" } else { "Response" };
                let rust = if shared { format!("{side}{name}") } else { name.clone() };
                (name, rust)
            });
            (message.name.clone(), own.collect())
        })
        .collect()
}

fn apis(modules: &[Module]) -> impl Iterator<Item = (&Module, &Api)> {
    modules.iter().filter_map(|module| module.api.as_ref().map(|api| (module, api)))
}

/// `mod.rs`.
pub fn root(modules: &[Module]) -> String {
    let mut out = String::new();
    for file in modules.iter().map(|module| module.file.as_str()) {
        out.push_str(&format!("#[rustfmt::skip]\npub mod {file};\n").replace("#[rustfmt::skip]\n", ""));
    }
    out.push_str(
        "mod api_key;\n#[cfg(test)]\nmod arbitrary;\nmod body;\n#[cfg(test)]\nmod tests;\n\n\
         pub use api_key::ApiKey;\npub use body::{RequestBody, ResponseBody};\n\n\
         use crate::wire::{DecodeError, Decoder, EncodeError, Encoder};\n\n\
         /// A message that stands alone in a frame or in a bytes field.\n\
         pub trait Message: Default + Sized {\n\
         /// Name in Kafka's definitions.\nconst NAME: &'static str;\n\
         /// Lowest version.\nconst VERSION_MIN: i16;\n\
         /// Highest version.\nconst VERSION_MAX: i16;\n\n\
         /// Reads the message in the encoding of `version`.\n\
         fn decode(buf: &mut Decoder, version: i16) -> Result<Self, DecodeError>;\n\n\
         /// Writes the message in the encoding of `version`; an error when a set field has no place in that version.\n\
         fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError>;\n}\n\n\
         /// A request, tied to its key and its response.\n\
         pub trait Request: Message {\n/// API key.\nconst KEY: ApiKey;\n/// What answers it.\ntype Response: Message;\n}\n",
    );
    out
}

/// `api_key.rs`.
pub fn api_key(modules: &[Module]) -> String {
    let mut variants = String::new();
    let mut all = String::new();
    let mut from = String::new();
    let mut names = String::new();
    let mut valid = String::new();
    let mut flexible = String::new();
    let mut unstable = Vec::new();
    for (module, api) in apis(modules) {
        let request = module.messages.iter().find(|message| message.name == api.request);
        let request = request.expect("grouped by request and response");
        let range = request.valid().expect("parsed before");
        let flexible_from = request.flexible().expect("parsed before");
        variants.push_str(&format!("/// Key {}.\n{} = {},\n", api.key, api.name, api.key));
        all.push_str(&format!("ApiKey::{},\n", api.name));
        from.push_str(&format!("{} => Some(ApiKey::{}),\n", api.key, api.name));
        names.push_str(&format!("ApiKey::{0} => \"{0}\",\n", api.name));
        valid.push_str(&format!("ApiKey::{} => {}..={},\n", api.name, range.first, range.last));
        let first =
            if flexible_from.is_empty() { "i16::MAX".to_owned() } else { flexible_from.first.to_string() };
        flexible.push_str(&format!("ApiKey::{} => {first},\n", api.name));
        if request.latest_version_unstable == Some(true) {
            unstable.push(format!("ApiKey::{}", api.name));
        }
    }
    format!(
        "use std::ops::RangeInclusive;\n\n\
         /// The APIs whose messages this room speaks.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(i16)]\npub enum ApiKey {{\n{variants}}}\n\n\
         impl ApiKey {{\n/// Every key, ascending.\npub const ALL: &'static [ApiKey] = &[{all}];\n\n\
         /// The key with this number; `None` for one we have no messages for.\n\
         pub fn from_code(code: i16) -> Option<ApiKey> {{\nmatch code {{\n{from}_ => None,\n}}\n}}\n\n\
         /// Number on the wire.\npub fn code(self) -> i16 {{\nself as i16\n}}\n\n\
         /// Name in Kafka's definitions.\npub fn name(self) -> &'static str {{\nmatch self {{\n{names}}}\n}}\n\n\
         /// Versions that the schema has.\npub fn valid_versions(self) -> RangeInclusive<i16> {{\nmatch self {{\n{valid}}}\n}}\n\n\
         /// Whether Kafka itself keeps the highest version back.\n\
         pub fn latest_version_unstable(self) -> bool {{\nmatches!(self, {})\n}}\n\n\
         /// First version with compact lengths and tagged fields; `i16::MAX` when there is none.\n\
         fn flexible_from(self) -> i16 {{\nmatch self {{\n{flexible}}}\n}}\n\n\
         /// Whether `version` has compact lengths and tagged fields; versions above the schema's count as the highest.\n\
         pub fn is_flexible(self, version: i16) -> bool {{\nversion >= self.flexible_from()\n}}\n\n\
         /// Version of the header before a request.\n\
         pub fn request_header_version(self, version: i16) -> i16 {{\nif self.is_flexible(version) {{ 2 }} else {{ 1 }}\n}}\n\n\
         /// Version of the header before a response; ApiVersions keeps 0, so that any client can read it.\n\
         pub fn response_header_version(self, version: i16) -> i16 {{\n\
         i16::from(self != ApiKey::ApiVersions && self.is_flexible(version))\n}}\n}}\n\n\
         impl std::fmt::Display for ApiKey {{\n\
         fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\nf.write_str(self.name())\n}}\n}}\n",
        unstable.join(" | ")
    )
}

/// `body.rs`.
pub fn body(modules: &[Module]) -> String {
    let mut out = String::from(
        "use crate::wire::{DecodeError, Decoder, EncodeError, Encoder};\n\nuse super::ApiKey;\n",
    );
    for (module, api) in apis(modules) {
        out.push_str(&format!("use super::{}::{{{}, {}}};\n", module.file, api.request, api.response));
    }
    for side in ["Request", "Response"] {
        let list = |line: &dyn Fn(&str) -> String| -> String {
            apis(modules).map(|(_, api)| line(&api.name)).collect()
        };
        let article = side.to_lowercase();
        out.push_str(&format!(
            "\n/// The body of a {article} of any API.\n#[derive(Clone, Debug, PartialEq)]\npub enum {side}Body {{\n{}}}\n\n\
             impl {side}Body {{\n/// Reads the body of `key` in the encoding of `version`.\n\
             pub fn decode(key: ApiKey, buf: &mut Decoder, version: i16) -> Result<{side}Body, DecodeError> {{\n\
             Ok(match key {{\n{}}})\n}}\n\n\
             /// Writes the body in the encoding of `version`.\n\
             pub fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> {{\nmatch self {{\n{}}}\n}}\n\n\
             /// The API.\npub fn key(&self) -> ApiKey {{\nmatch self {{\n{}}}\n}}\n}}\n",
            list(&|name| format!("/// {name}.\n{name}({name}{side}),\n")),
            list(&|name| format!("ApiKey::{name} => {side}Body::{name}({name}{side}::decode(buf, version)?),\n")),
            list(&|name| format!("{side}Body::{name}(body) => body.encode(out, version),\n")),
            list(&|name| format!("{side}Body::{name}(_) => ApiKey::{name},\n")),
        ));
        for (_, api) in apis(modules) {
            out.push_str(&format!(
                "\nimpl From<{0}{side}> for {side}Body {{\nfn from(body: {0}{side}) -> Self {{\n{side}Body::{0}(body)\n}}\n}}\n",
                api.name
            ));
        }
    }
    out
}
