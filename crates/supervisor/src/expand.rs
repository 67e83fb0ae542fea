//! `$(VAR)` in a container's `command` and `args`, by Kubernetes' rules.
//!
//! `$(NAME)` becomes the variable's value, a name that is not known stays as it is, `$$` is one `$`. Nothing else is
//! touched, and what a value brings in is not expanded again.

/// Expands one word with the container's variables; the last of several equal names counts.
#[must_use]
pub fn expand(word: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match env.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// Expands each word of a `command` or of `args`.
pub(crate) fn words(words: &[String], env: &[(String, String)]) -> Vec<String> {
    words.iter().map(|word| expand(word, env)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_expanded_as_kubernetes_does() {
        let env: Vec<(String, String)> = [("A", "old"), ("A", "a"), ("B", "$(A)"), ("EMPTY", ""), ("x y", "odd")]
            .map(|(n, v)| (n.into(), v.into()))
            .into();
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "a"),
            ("<$(A)$(A)>", "<aa>"),
            ("$(B)", "$(A)"),
            ("$(EMPTY)", ""),
            ("$(x y)", "odd"),
            ("$(NONE)", "$(NONE)"),
            ("$()", "$()"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$$$$(A)", "$$(A)"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$(A $(A)", "$(A $(A)"),
            ("a$é$(A)", "a$éa"),
            ("100$", "100$"),
            ("$$", "$"),
        ];
        for (word, expected) in cases {
            assert_eq!(expand(word, &env), expected, "{word}");
        }
    }
}
