//! Names that users give: which are legal.

/// Longest topic name, in bytes (Kafka: the name must fit a file name with its partition number).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Why a topic name is refused, as one clear sentence; `None` when it is legal (Kafka: `Topic.validate`).
pub fn topic_name_error(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("a topic name must not be empty")
    } else if name == "." || name == ".." {
        Some("a topic name must not be \".\" or \"..\"")
    } else if name.len() > TOPIC_NAME_BYTES_MAX {
        Some("a topic name must not be longer than 249 characters")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        Some("a topic name may hold only ASCII letters and digits, '.', '_' and '-'")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::topic_name_error;

    #[test]
    fn names() {
        for good in ["a", "flights-2013", "a.b_c", "__consumer_offsets", "..."] {
            assert_eq!(topic_name_error(good), None, "{good}");
        }
        let long = "x".repeat(250);
        for bad in ["", ".", "..", "a/b", "a\0b", "über", "a b", long.as_str()] {
            assert!(topic_name_error(bad).is_some(), "{bad}");
        }
    }
}
