//! A line as a record: headers, key and value with separators between, by the property names of Kafka's console producer.

/// How lines are read.
#[derive(Debug)]
pub struct LineFormat {
    parse_key: bool,
    key_separator: String,
    parse_headers: bool,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    null_marker: Option<String>,
    ignore_error: bool,
}

/// The parts of a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// Reads `true` or `false`.
///
/// # Errors
/// What is wanted.
pub fn flag(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("--property {name} takes true or false, not {value:?}"))
}

/// A separator as it is written on a command line.
pub fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

impl LineFormat {
    /// From properties.
    ///
    /// # Errors
    /// One clear sentence about the property that is wrong.
    pub fn new(properties: &[(String, String)], key_separator: Option<&str>) -> Result<LineFormat, String> {
        let mut format = LineFormat {
            parse_key: key_separator.is_some(),
            key_separator: key_separator.map_or("\t".to_string(), unescaped),
            parse_headers: false,
            headers_delimiter: "\t".to_string(),
            headers_separator: ",".to_string(),
            headers_key_separator: ":".to_string(),
            null_marker: None,
            ignore_error: false,
        };
        for (name, value) in properties {
            match &**name {
                "parse.key" => format.parse_key = flag(name, value)?,
                "key.separator" => format.key_separator = unescaped(value),
                "parse.headers" => format.parse_headers = flag(name, value)?,
                "headers.delimiter" => format.headers_delimiter = unescaped(value),
                "headers.separator" => format.headers_separator = unescaped(value),
                "headers.key.separator" => format.headers_key_separator = unescaped(value),
                "null.marker" => format.null_marker = Some(value.clone()),
                "ignore.error" => format.ignore_error = flag(name, value)?,
                _ => {
                    return Err(format!(
                        "--property {name} is not known; `sternpost produce --help` lists those that are"
                    ));
                }
            }
        }
        let separators = [
            &format.key_separator,
            &format.headers_delimiter,
            &format.headers_separator,
            &format.headers_key_separator,
        ];
        if separators.iter().any(|separator| separator.is_empty()) {
            return Err("a separator cannot be empty".to_string());
        }
        Ok(format)
    }

    /// Whether lines that cannot be read are left out.
    pub fn skips_bad_lines(&self) -> bool {
        self.ignore_error
    }

    fn marked<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let is_null = self.null_marker.as_ref().is_some_and(|marker| marker.as_bytes() == bytes);
        (!is_null).then_some(bytes)
    }

    /// Takes a line apart.
    ///
    /// # Errors
    /// Which separator is missing.
    pub fn parse<'a>(&self, line: &'a [u8]) -> Result<Parsed<'a>, String> {
        let mut rest = line;
        let mut headers = Vec::new();
        if self.parse_headers {
            let (head, behind) = split(rest, &self.headers_delimiter)
                .ok_or_else(|| format!("no {:?} behind its headers", self.headers_delimiter))?;
            rest = behind;
            if self.marked(head).is_some() && !head.is_empty() {
                let head = std::str::from_utf8(head).map_err(|_| "its headers are not UTF-8".to_string())?;
                for header in head.split(&*self.headers_separator) {
                    let (name, value) = header.split_once(&*self.headers_key_separator).ok_or_else(|| {
                        format!("no {:?} in the header {header:?}", self.headers_key_separator)
                    })?;
                    headers.push((name, self.marked(value.as_bytes())));
                }
            }
        }
        let mut key = None;
        if self.parse_key {
            let (head, behind) = split(rest, &self.key_separator)
                .ok_or_else(|| format!("no {:?} behind its key", self.key_separator))?;
            key = self.marked(head);
            rest = behind;
        }
        Ok(Parsed { key, value: self.marked(rest), headers })
    }
}

fn split<'a>(bytes: &'a [u8], separator: &str) -> Option<(&'a [u8], &'a [u8])> {
    let separator = separator.as_bytes();
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(properties: &[(&str, &str)], line: &str, expected: &str) {
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let properties: Vec<_> = properties.iter().map(own).collect();
        let shown = match LineFormat::new(&properties, None).and_then(|format| {
            let text =
                |bytes: Option<&[u8]>| bytes.map_or("null".into(), String::from_utf8_lossy).into_owned();
            let parsed = format.parse(line.as_bytes())?;
            let headers: Vec<String> =
                parsed.headers.iter().map(|(name, value)| format!("{name}={}", text(*value))).collect();
            Ok(format!("[{}] {} {}", headers.join(" "), text(parsed.key), text(parsed.value)))
        }) {
            Ok(shown) => shown,
            Err(why) => format!("error: {why}"),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn lines_are_taken_apart() {
        check(&[], "a\tb", "[] null a\tb");
        check(&[("parse.key", "true")], "a\tb", "[] a b");
        check(&[("parse.key", "true"), ("key.separator", "::")], "a::b::c", "[] a b::c");
        check(&[("parse.key", "true")], "ab", "error: no \"\\t\" behind its key");
        check(&[("parse.headers", "true")], "h:1,i:2\tv", "[h=1 i=2] null v");
        check(&[("parse.headers", "true")], "\tv", "[] null v");
        check(&[("parse.headers", "true")], "h\tv", "error: no \":\" in the header \"h\"");
        check(&[("parse.key", "true"), ("null.marker", "-")], "k\t-", "[] k null");
    }

    #[test]
    fn wrong_properties_are_named() {
        check(
            &[("parse.kee", "true")],
            "",
            "error: --property parse.kee is not known; `sternpost produce --help` lists those that are",
        );
        check(&[("parse.key", "yes")], "", "error: --property parse.key takes true or false, not \"yes\"");
        check(&[("key.separator", "")], "", "error: a separator cannot be empty");
    }
}
