//! Runtime `host`: a process of the node itself, with the container's environment only and its volumes in a mount
//! namespace of its own.

use std::path::Path;

use super::Words;
use crate::contain::{Spec, StartFailure};
use crate::launch::ContainerLaunch;

/// What container runtimes give a container whose image sets none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn spec(container: &ContainerLaunch, stage: &Path) -> Result<Spec, StartFailure> {
    let words = Words::of(container);
    if words.command.is_empty() {
        return Err(StartFailure::setup(format!(
            "container {:?} has no command and the host runtime does not know the entrypoint of image {:?}: give command, or \
             use a container runtime",
            container.name, container.image
        )));
    }
    let home = std::env::var("HOME").unwrap_or_else(|_| "/".to_owned());
    Ok(Spec {
        supervisor: std::process::id().cast_signed(),
        argv: [words.command, words.args].concat(),
        env: Some(environment(&container.env, &home)),
        working_dir: container.working_dir.clone(),
        stage: stage.to_owned(),
        mounts: container.mounts.clone(),
        origin: "on the node, whose own programs the host runtime runs".into(),
    })
}

/// The container's variables, each once, with PATH and HOME if it gives none.
fn environment(given: &[(String, String)], home: &str) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = vec![("PATH".into(), PATH.into()), ("HOME".into(), home.into())];
    for (name, value) in given {
        match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => old.clone_from(value),
            None => env.push((name.clone(), value.clone())),
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn path_and_home_are_there_unless_the_container_says_otherwise() {
        let cases = [
            (vec![], vec![("PATH", PATH), ("HOME", "/h")]),
            (vec![("PATH", "/x"), ("A", "1")], vec![("PATH", "/x"), ("HOME", "/h"), ("A", "1")]),
            (vec![("A", "1"), ("HOME", ""), ("A", "2")], vec![("PATH", PATH), ("HOME", ""), ("A", "2")]),
        ];
        for (given, expected) in cases {
            assert_eq!(environment(&pairs(&given), "/h"), pairs(&expected));
        }
    }
}
