//! Runtime `apptainer`: Apptainer or SingularityCE, by argument vectors only.
//!
//! The image is made ready in a step of its own, because the program answers 255 both to a missing image and to a
//! missing program. Variables go through a file of 0600: its reader is a shell, so values are quoted, and `--no-eval`
//! keeps them from being looked at once more. Apptainer lets nobody set HOME, which stays its own.

use std::path::Path;

use super::{Surroundings, Words, pull};
use crate::contain::{Spec, StartFailure};
use crate::launch::{ContainerLaunch, Mount, PullPolicy};

/// How this site runs Apptainer.
pub(super) struct Site<'a> {
    pub(super) executable: &'a Path,
    pub(super) options: &'a [String],
}

/// Sub-command that turns an image of this kind into a file; `None` for what is a path.
///
/// Whatever has another word before its colon is taken as a path, as Apptainer itself does.
pub(super) fn fetched_by(image: &str) -> Option<&'static str> {
    const REMOTE: [&str; 6] = ["docker", "oras", "library", "shub", "http", "https"];
    const ARCHIVE: [&str; 4] = ["oci", "oci-archive", "docker-archive", "docker-daemon"];
    let (scheme, rest) = image.split_once(':')?;
    match scheme {
        _ if REMOTE.contains(&scheme) && rest.starts_with("//") => Some("pull"),
        _ if ARCHIVE.contains(&scheme) => Some("build"),
        _ => None,
    }
}

/// Makes the image ready; returns it as `exec` takes it.
pub(super) async fn prepare(
    site: &Site<'_>,
    image: &str,
    policy: PullPolicy,
    container: &ContainerLaunch,
    around: &Surroundings<'_>,
) -> Result<String, StartFailure> {
    if let Some(command) = fetched_by(image) {
        let own = around.pod_dir.join(around.kind.image(&container.name));
        return pull::pull(&pull::Tool { executable: site.executable, command }, image, policy, &own, around).await;
    }
    match std::fs::metadata(image) {
        Ok(_) => Ok(image.to_owned()),
        Err(error) => Err(StartFailure::image(format!(
            "image {image:?} cannot be used on the node: {error}; give the path of a SIF file or of a sandbox directory that \
             the compute nodes see, or a reference such as docker://name:tag"
        ))),
    }
}

/// What to start: `apptainer exec|run … image command args`.
pub(super) fn spec(
    site: &Site<'_>,
    image: &str,
    container: &ContainerLaunch,
    around: &Surroundings<'_>,
) -> Result<Spec, StartFailure> {
    let words = Words::of(container);
    let mut argv = vec![
        site.executable.display().to_string(),
        // its warnings would be in the container's output
        "--silent".to_owned(),
        if words.command.is_empty() { "run" } else { "exec" }.to_owned(),
        "--containall".to_owned(),
        "--no-eval".to_owned(),
    ];
    argv.extend(site.options.iter().cloned());
    if let Some(directory) = container.working_dir.as_deref().filter(|d| !d.is_empty()) {
        argv.extend(["--pwd".to_owned(), directory.to_owned()]);
    }
    if !container.env.is_empty() {
        let file = around.pod_dir.join(around.kind.environment(&container.name));
        let text = environment_file(&container.env)?;
        crate::durable::place(&file, text.as_bytes())
            .map_err(|error| StartFailure::setup(format!("{} cannot be written: {error}", file.display())))?;
        argv.extend(["--env-file".to_owned(), file.display().to_string()]);
    }
    for mount in &container.mounts {
        argv.extend(mount_option(mount)?);
    }
    argv.push(image.to_owned());
    argv.extend(words.command);
    argv.extend(words.args);
    Ok(Spec {
        supervisor: std::process::id().cast_signed(),
        argv,
        env: None,
        working_dir: None,
        stage: around.stage(),
        mounts: Vec::new(),
        origin: "on the node: install Apptainer there or set its path in the plugin's configuration".into(),
    })
}

/// `NAME="value"` lines. In double quotes: of single ones, Apptainer's shell reads `'\''` as two characters.
fn environment_file(env: &[(String, String)]) -> Result<String, StartFailure> {
    let mut text = String::new();
    for (name, value) in env {
        if !is_shell_name(name) {
            return Err(StartFailure::setup(format!(
                "variable {name:?} cannot be given to a container by apptainer: its name must be letters, digits and _ and \
                 must not begin with a digit"
            )));
        }
        text.extend([name, "=\""]);
        for character in value.chars() {
            if matches!(character, '"' | '$' | '`' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push_str("\"\n");
    }
    Ok(text)
}

fn is_shell_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `--bind` where the paths are plain, as every version knows it; else `--mount`, which can quote.
fn mount_option(mount: &Mount) -> Result<[String; 2], StartFailure> {
    let source = mount.source.to_str().filter(|s| !s.contains('\n'));
    let (Some(source), false) = (source, mount.target.contains('\n')) else {
        return Err(StartFailure::setup(format!(
            "mountPath {:?} or its volume's path is not UTF-8 text in one line; rename it",
            mount.target
        )));
    };
    let target = &mount.target;
    let plain = |path: &str| !path.contains([':', ',', '"', '\\']);
    if plain(source) && plain(target) {
        let mode = if mount.read_only { "ro" } else { "rw" };
        return Ok(["--bind".to_owned(), format!("{source}:{target}:{mode}")]);
    }
    let mut fields =
        vec!["type=bind".to_owned(), csv(&format!("source={source}")), csv(&format!("destination={target}"))];
    if mount.read_only {
        fields.push("ro".to_owned());
    }
    Ok(["--mount".to_owned(), fields.join(",")])
}

/// One field of a line of comma-separated values (RFC 4180).
fn csv(field: &str) -> String {
    if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_fetched_and_paths_are_not() {
        let cases = [
            ("docker://busybox", Some("pull")),
            ("oras://r/x:1", Some("pull")),
            ("library://a", Some("pull")),
            ("https://h/x.sif", Some("pull")),
            ("oci-archive:/x.tar", Some("build")),
            ("docker-archive:///x.tar", Some("build")),
            ("/images/x.sif", None),
            ("/odd:name.sif", None),
            ("docker:x.sif", None),
            ("busybox", None),
            ("images/a:b", None),
            ("instance://x", None),
        ];
        for (image, command) in cases {
            assert_eq!(fetched_by(image), command, "{image}");
        }
    }

    #[test]
    fn odd_paths_are_quoted_and_plain_ones_are_binds() {
        let cases = [
            ("/a", "/b", true, ["--bind", "/a:/b:ro"]),
            ("/a b", "/c d", false, ["--bind", "/a b:/c d:rw"]),
            ("/a:1", "/b", false, ["--mount", "type=bind,source=/a:1,destination=/b"]),
            ("/a,1", "/b", true, ["--mount", "type=bind,\"source=/a,1\",destination=/b,ro"]),
            ("/a\"1", "/b", false, ["--mount", "type=bind,\"source=/a\"\"1\",destination=/b"]),
        ];
        for (source, target, read_only, expected) in cases {
            let mount = Mount { source: source.into(), target: target.into(), read_only, within: vec![] };
            assert_eq!(mount_option(&mount).unwrap(), expected);
        }
        let newline = Mount { source: "/a".into(), target: "/b\nc".into(), read_only: true, within: vec![] };
        assert!(mount_option(&newline).unwrap_err().message.contains("mountPath"));
    }

    #[test]
    fn values_are_quoted_for_the_shell_and_odd_names_are_refused() {
        let env = |n: &str, v: &str| vec![(n.to_owned(), v.to_owned())];
        assert_eq!(
            environment_file(&env("A", "it's $HOME\n`x`\\\"")).unwrap(),
            "A=\"it's \\$HOME\n\\`x\\`\\\\\\\"\"\n"
        );
        for name in ["a.b", "a-b", "1a", "", "a b"] {
            assert!(environment_file(&env(name, "v")).unwrap_err().message.contains("letters, digits"), "{name}");
        }
    }
}
