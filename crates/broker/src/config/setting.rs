//! One setting: its name, kind, default, range and meaning, and the check of a value against them. The tables beside this
//! file are made of it; nothing else in the workspace knows a setting by heart.

use crate::request::ConfigKind;

/// One row of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Kafka's name, or one below `sternpost.`.
    pub name: &'static str,
    /// Kind of value.
    pub kind: ConfigKind,
    /// Value when nobody sets it; `None`: no value.
    pub default: Option<&'static str>,
    /// Which values of the kind are legal.
    pub range: Range,
    /// Whether Sternpost acts on it.
    pub effect: bool,
    /// Whether it can be changed at run time.
    pub change: Change,
    /// What it does, or why it does nothing here. One sentence.
    pub doc: &'static str,
}

/// When a value may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only by a restart.
    ReadOnly,
    /// At run time, by `AlterConfigs`.
    Dynamic,
}

/// Legal values within a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// All of the kind.
    Any,
    /// Whole numbers from the first to the second, both included.
    Whole(i64, i64),
    /// Real numbers from the first to the second, both included.
    Real(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some of these words, none twice.
    SomeOf(&'static [&'static str]),
}

impl Range {
    /// Whole numbers from `min` up to the kind's largest.
    pub const fn from(min: i64) -> Range {
        Range::Whole(min, i64::MAX)
    }

    /// The range as documentation shows it; empty for `Any`.
    pub fn text(&self) -> String {
        match self {
            Range::Any => String::new(),
            Range::Whole(min, i64::MAX) if *min == i64::MIN => String::new(),
            Range::Whole(min, i64::MAX) => format!("{min} or more"),
            Range::Whole(min, max) => format!("{min} to {max}"),
            Range::Real(min, f64::MAX) => format!("{min} or more"),
            Range::Real(min, max) => format!("{min} to {max}"),
            Range::OneOf([""]) => "empty".to_string(),
            Range::OneOf([one]) => format!("only {one}"),
            Range::OneOf(words) => format!("one of {}", words.join(", ")),
            Range::SomeOf(words) => format!("any of {}", words.join(", ")),
        }
    }
}

/// Kind as documentation shows it.
pub fn kind_name(kind: ConfigKind) -> &'static str {
    match kind {
        ConfigKind::Boolean => "boolean",
        ConfigKind::String => "string",
        ConfigKind::Int => "int",
        ConfigKind::Short => "short",
        ConfigKind::Long => "long",
        ConfigKind::Double => "double",
        ConfigKind::List => "list",
        ConfigKind::Class => "class",
        ConfigKind::Password => "password",
    }
}

impl Setting {
    /// A row with the given meaning; read-only, any value, until told otherwise.
    pub const fn new(
        name: &'static str,
        kind: ConfigKind,
        default: Option<&'static str>,
        doc: &'static str,
    ) -> Setting {
        Setting { name, kind, default, range: Range::Any, effect: true, change: Change::ReadOnly, doc }
    }

    /// The row with a range.
    pub const fn within(mut self, range: Range) -> Setting {
        self.range = range;
        self
    }

    /// The row, changeable at run time.
    pub const fn dynamic(mut self) -> Setting {
        self.change = Change::Dynamic;
        self
    }

    /// The row, known but without effect here.
    pub const fn inert(mut self) -> Setting {
        self.effect = false;
        self
    }

    /// Whether the value must not be shown.
    pub fn sensitive(&self) -> bool {
        self.kind == ConfigKind::Password
    }

    /// A value as a message may quote it.
    pub fn shown(&self, value: &str) -> String {
        if self.sensitive() { "(hidden)".to_string() } else { format!("{value:?}") }
    }

    /// Checks a value.
    ///
    /// # Errors
    /// One clear sentence that names the setting, the value (unless it is a secret) and what would be legal.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let refuse = |wanted: &str| {
            Err(format!("invalid value {} for {}: it must be {wanted}", self.shown(value), self.name))
        };
        let value = value.trim();
        match self.kind {
            ConfigKind::Boolean if parse_boolean(value).is_none() => return refuse("true or false"),
            ConfigKind::Short => {
                return self.check_whole(value, i64::from(i16::MIN), i64::from(i16::MAX), refuse);
            }
            ConfigKind::Int => {
                return self.check_whole(value, i64::from(i32::MIN), i64::from(i32::MAX), refuse);
            }
            ConfigKind::Long => return self.check_whole(value, i64::MIN, i64::MAX, refuse),
            ConfigKind::Double => match (value.parse::<f64>(), self.range) {
                (Ok(number), Range::Real(min, max)) if number >= min && number <= max => {}
                (Ok(number), Range::Any) if !number.is_nan() => {}
                (_, Range::Real(..)) => return refuse(&format!("a number, {}", self.range.text())),
                _ => return refuse("a number"),
            },
            _ => {}
        }
        match self.range {
            Range::OneOf(words) if !words.contains(&value) => refuse(&self.range.text()),
            Range::SomeOf(words) => {
                let mut seen = Vec::new();
                for word in split_list(value) {
                    if !words.contains(&word) || seen.contains(&word) {
                        return refuse(&format!("{}, none of them twice", self.range.text()));
                    }
                    seen.push(word);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_whole(
        &self,
        value: &str,
        kind_min: i64,
        kind_max: i64,
        refuse: impl Fn(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        let (min, max) = match self.range {
            Range::Whole(min, max) => (min.max(kind_min), max.min(kind_max)),
            _ => (kind_min, kind_max),
        };
        match value.parse::<i64>() {
            Ok(number) if number >= min && number <= max => Ok(()),
            _ if max == kind_max && min == kind_min => refuse("a whole number"),
            _ if max == kind_max => refuse(&format!("a whole number, {min} or more")),
            _ => refuse(&format!("a whole number, {min} to {max}")),
        }
    }
}

/// `true` or `false` in any case, as Kafka reads it.
pub fn parse_boolean(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// The words of a list value, trimmed, empty ones left out.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}
