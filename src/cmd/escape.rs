//! Bytes as people and programs may see them: escaped on a terminal, text or base64 in JSON.
//!
//! Promises: nothing that is printed through here can move the cursor, change colours or reorder text; JSON rows give
//! back exactly the bytes. Does not: decide where escaping is needed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::model::time::Timestamp;

/// A value for a terminal: text as it is, lines and tabs included; what cannot be printed as `\xNN`.
pub fn value(bytes: &[u8]) -> String {
    escaped(bytes, |c| matches!(c, '\n' | '\t' | '\\'))
}

/// A key or value inside a line or a table: one line, and unambiguous.
pub fn cell(bytes: &[u8]) -> String {
    escaped(bytes, |_| false)
}

/// Like [`cell`], of at most `columns` characters; longer ones end in `...`.
pub fn short(bytes: &[u8], columns: usize) -> String {
    // Each byte is at most 6 characters, each character at least one byte: no need to escape more than this.
    let text = cell(&bytes[..bytes.len().min(columns.saturating_mul(4) + 4)]);
    if text.chars().count() <= columns && bytes.len() <= columns.saturating_mul(4) + 4 {
        return text;
    }
    let kept: String = text.chars().take(columns.saturating_sub(3)).collect();
    kept + "..."
}

fn escaped(bytes: &[u8], plain: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if plain(c) => text.push(c),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                '\\' => text.push_str("\\\\"),
                c if (c as u32) < 0x80 && c.is_control() => text.push_str(&format!("\\x{:02x}", c as u32)),
                c if c.is_control() || is_invisible(c) => text.push_str(&format!("\\u{{{:x}}}", c as u32)),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Characters that print nothing but change how others look.
fn is_invisible(c: char) -> bool {
    matches!(c as u32, 0xad | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2069 | 0xfeff | 0xe0000..=0xe007f)
}

/// Text if the bytes are UTF-8, else base64.
fn text_or_b64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

/// A key with its value as JSON: `key` and `value`, or `key_b64` and `value_b64` where bytes are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    ts: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

impl JsonRow {
    /// The version of `key` that was written at `ts`.
    pub fn new(key: &[u8], value: &[u8], ts: Timestamp, expires_at_ms: Option<u64>) -> JsonRow {
        let (key, key_b64) = text_or_b64(key);
        let (value, value_b64) = text_or_b64(value);
        JsonRow { key, key_b64, value, value_b64, ts, expires_at_ms }
    }
}

/// A key alone as JSON, with the same two spellings; flattened into answers that name a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonKey {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
}

impl JsonKey {
    pub fn new(key: &[u8]) -> JsonKey {
        let (key, key_b64) = text_or_b64(key);
        JsonKey { key, key_b64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_terminal_sees_text_but_no_commands() {
        assert_eq!(value("line\n\tna\u{ef}ve C:\\dir".as_bytes()), "line\n\tna\u{ef}ve C:\\dir");
        assert_eq!(value(b"\x1b[31mred\x07\xff"), "\\x1b[31mred\\x07\\xff");
        assert_eq!(value("a\u{202e}b\u{9b}c".as_bytes()), "a\\u{202e}b\\u{9b}c");
        assert_eq!(cell(b"a\nb\\n"), "a\\nb\\\\n");
    }

    #[test]
    fn long_cells_are_cut() {
        assert_eq!(short(b"abcdef", 6), "abcdef");
        assert_eq!(short(b"abcdefg", 6), "abc...");
        assert_eq!(short(&[b'x'; 10_000], 8), "xxxxx...");
    }

    #[test]
    fn json_says_b64_only_where_it_must() {
        let row = JsonRow::new(b"/a", b"v", Timestamp(7), None);
        assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"key":"/a","value":"v","ts":7}"#);
        let row = JsonRow::new(b"\xff", b"\xfe\x00", Timestamp(7), Some(9));
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json, r#"{"key_b64":"/w==","value_b64":"/gA=","ts":7,"expires_at_ms":9}"#);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_nothing_controls_the_terminal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!cell(&bytes).chars().any(|c| c.is_control() || is_invisible(c)));
            let other = value(&bytes);
            prop_assert!(!other.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            prop_assert!(short(&bytes, 20).chars().count() <= 20);
        }

        #[test]
        fn json_rows_give_the_bytes_back(key in prop::collection::vec(any::<u8>(), 1..40),
                                         value in prop::collection::vec(any::<u8>(), 0..40)) {
            let json = serde_json::to_value(JsonRow::new(&key, &value, Timestamp(1), None)).unwrap();
            let back = |name: &str| match json.get(name) {
                Some(text) => text.as_str().unwrap().as_bytes().to_vec(),
                None => BASE64_STANDARD.decode(json[format!("{name}_b64")].as_str().unwrap()).unwrap(),
            };
            prop_assert_eq!(back("key"), key);
            prop_assert_eq!(back("value"), value);
        }
    }
}
