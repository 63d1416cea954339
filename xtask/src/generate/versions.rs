//! Version ranges as Kafka's schemas write them ("3+", "0-7", "4", "none") and the Rust conditions they become.

/// An inclusive range of versions; `first > last` means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Lowest version.
    pub first: i16,
    /// Highest version.
    pub last: i16,
}

impl Versions {
    /// No version at all.
    pub const NONE: Versions = Versions { first: 1, last: 0 };

    /// Reads the schema's notation.
    pub fn parse(text: &str) -> Result<Versions, String> {
        let number = |part: &str| part.trim().parse::<i16>().map_err(|e| format!("versions {text:?}: {e}"));
        if text == "none" {
            return Ok(Versions::NONE);
        }
        if let Some(first) = text.strip_suffix('+') {
            return Ok(Versions { first: number(first)?, last: i16::MAX });
        }
        match text.split_once('-') {
            Some((first, last)) => Ok(Versions { first: number(first)?, last: number(last)? }),
            None => Ok(Versions { first: number(text)?, last: number(text)? }),
        }
    }

    /// As `parse`; an absent text means none.
    pub fn parse_optional(text: Option<&String>) -> Result<Versions, String> {
        text.map_or(Ok(Versions::NONE), |text| Versions::parse(text))
    }

    /// Whether no version is in the range.
    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    /// The versions in both ranges.
    pub fn and(self, other: Versions) -> Versions {
        let both = Versions { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_empty() { Versions::NONE } else { both }
    }

    /// Whether every version of `other` is in this range.
    pub fn covers(self, other: Versions) -> bool {
        other.is_empty() || (self.first <= other.first && self.last >= other.last)
    }

    /// A Rust condition on `version`, given that `version` lies in `within`; `true` and `false` when it is constant.
    pub fn condition(self, within: Versions) -> String {
        let inside = self.and(within);
        if inside.is_empty() {
            "false".into()
        } else if inside == within {
            "true".into()
        } else if inside.first == inside.last {
            format!("version == {}", inside.first)
        } else if inside.last == within.last {
            format!("version >= {}", inside.first)
        } else if inside.first == within.first {
            format!("version <= {}", inside.last)
        } else {
            format!("({}..={}).contains(&version)", inside.first, inside.last)
        }
    }

    /// The opposite of [`Self::condition`].
    pub fn absence(self, within: Versions) -> String {
        let inside = self.and(within);
        if inside.is_empty() {
            "true".into()
        } else if inside == within {
            "false".into()
        } else if inside.first == inside.last {
            format!("version != {}", inside.first)
        } else if inside.last == within.last {
            format!("version < {}", inside.first)
        } else if inside.first == within.first {
            format!("version > {}", inside.last)
        } else {
            format!("!({}..={}).contains(&version)", inside.first, inside.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Versions;

    #[test]
    fn conditions() {
        let within = Versions { first: 3, last: 13 };
        let check = |text: &str, want: &str| {
            let versions = Versions::parse(text).expect("versions");
            assert_eq!(versions.condition(within), want, "{text}");
        };
        check("0+", "true");
        check("9+", "version >= 9");
        check("0-12", "version <= 12");
        check("13+", "version == 13");
        check("5-7", "(5..=7).contains(&version)");
        check("0-2", "false");
        check("none", "false");
    }
}
