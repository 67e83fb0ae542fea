//! Kubernetes name rules, checked before a name becomes part of a path or a flag.
//!
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>.

/// A DNS label (RFC 1123): at most 63 of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && label_shape(text)
}

/// A DNS subdomain (RFC 1123): at most 253 characters of DNS labels joined by dots.
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(label_shape)
}

/// A key of a ConfigMap or Secret: at most 253 of letters, digits, `-`, `_` and `.`, neither `.` nor beginning with `..`.
#[must_use]
pub fn is_config_key(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text != "."
        && !text.starts_with("..")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A relative path that stays below its directory: no `..`, no leading `/`, no empty or NUL-bearing part.
#[must_use]
pub fn is_local_path(text: &str) -> bool {
    !text.is_empty()
        && !text.contains('\0')
        && text.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn label_shape(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains_follow_rfc_1123() {
        let cases = [
            ("a", true, true),
            ("my-pod-0", true, true),
            ("my.pod", false, true),
            ("", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("A", false, false),
            ("a_b", false, false),
            ("a/../b", false, false),
            ("a..b", false, false),
        ];
        for (text, label, subdomain) in cases {
            assert_eq!(is_dns_label(text), label, "{text}");
            assert_eq!(is_dns_subdomain(text), subdomain, "{text}");
        }
        assert!(!is_dns_label(&"a".repeat(64)));
        assert!(!is_dns_subdomain(&"a".repeat(254)));
    }

    #[test]
    fn paths_stay_below_their_directory() {
        for good in ["a", "a/b.txt", "..data"] {
            assert!(is_local_path(good), "{good}");
        }
        for bad in ["", "/a", "../a", "a/../b", "a//b", "./a", "a\0b"] {
            assert!(!is_local_path(bad), "{bad}");
        }
        assert!(is_config_key("ca.crt") && is_config_key(".hidden"));
        assert!(!is_config_key("..") && !is_config_key("a/b") && !is_config_key(""));
    }
}
