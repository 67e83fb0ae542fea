//! Identities: the pod's UID, the only key of the contract, and the scheduler's opaque job id.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value that cannot be an identity, with what it should look like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct IdError {
    what: &'static str,
    value: String,
    rule: &'static str,
}

/// A pod's `metadata.uid`: a lower-case UUID with hyphens, so it is safe in paths and job names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PodUid(String);

impl PodUid {
    /// Checks `text` against the form 8-4-4-4-12 of lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`IdError`] when it has another form.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let groups: Vec<&str> = text.split('-').collect();
        let shape = groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12]);
        let digits = groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        if shape && digits {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError {
                what: "pod UID",
                value: text.chars().take(64).collect(),
                rule: "must be a valid UUID in lower case, 8-4-4-4-12 digits",
            })
        }
    }

    /// The UID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A scheduler's name for a job. Opaque: only the scheduler that gave it may take it apart.
///
/// Letters, digits and `._:+-[]@` only, at most 128, so it is safe in file names and argument vectors.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`IdError`] when it is empty, too long, begins with `-` or has other characters.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fits = !text.is_empty() && text.len() <= 128 && !text.starts_with(['-', '.']);
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:+-[]@".contains(&b)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError {
                what: "job id",
                value: text.chars().take(64).collect(),
                rule: "must be 1 to 128 letters, digits or ._:+-[]@",
            })
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}
as_text!(PodUid);
as_text!(JobId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_lower_case_uuid() {
        assert!(PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").is_ok());
        for bad in [
            "",
            "x",
            "0B0C9A3E-2D5F-4A77-9D53-0C1F6A2B3C4D",
            "0b0c9a3e2d5f4a779d530c1f6a2b3c4d",
            "../0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d",
        ] {
            let error = PodUid::parse(bad).unwrap_err().to_string();
            assert!(error.contains("must be a valid UUID"), "{error}");
        }
    }

    #[test]
    fn a_job_id_can_be_a_file_name() {
        for good in ["42", "42_7", "42+1", "interlink-0b0c.service", "n1:77"] {
            assert!(JobId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-1", "a b", "a/b", "..", "a;b"] {
            assert!(JobId::parse(bad).is_err(), "{bad}");
        }
    }
}
