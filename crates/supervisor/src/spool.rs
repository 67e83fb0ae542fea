//! Event files: `<uid>.<sequence>` in one directory for all pods, so that the plugin need not look into each.
//!
//! An event says only "look at this pod again". A lost one is made good by the plugin's full rescan.

use std::io;
use std::path::Path;

use interlink_wire::PodUid;

/// Tells the plugin that a pod's `state.json` has this sequence now.
///
/// # Errors
/// Whatever the file system says; not fatal to anyone.
pub fn announce(spool: &Path, uid: &PodUid, sequence: u64) -> io::Result<()> {
    crate::durable::place(&spool.join(format!("{uid}.{sequence}")), b"")
}

/// Pod and sequence of an event file's name; `None` for a temporary file or anything else.
#[must_use]
pub fn parse_name(name: &str) -> Option<(PodUid, u64)> {
    let (uid, sequence) = name.rsplit_once('.')?;
    Some((PodUid::parse(uid).ok()?, sequence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_under_its_name_and_nothing_else_is_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let uid = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap();
        announce(dir.path(), &uid, 7).unwrap();
        let names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.iter().map(|n| parse_name(n)).collect::<Vec<_>>(), [Some((uid.clone(), 7))]);
        for other in
            [".0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d.7.n1.4.0.tmp", "x.7", &format!("{uid}"), &format!("{uid}.x")]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
