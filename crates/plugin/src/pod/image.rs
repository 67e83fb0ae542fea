//! The image as Apptainer takes it.
//!
//! Rule of the existing plugin: a path or `scheme://…` stays, anything else gets the prefix of the pod's annotation,
//! else of the configuration. Without a prefix the existing plugin would take `busybox` for a file of the compute node;
//! here it is what it is everywhere else in Kubernetes, a registry's image.

/// Annotation that replaces `ImagePrefix`; may be empty.
pub const IMAGE_ROOT: &str = "slurm-job.vk.io/image-root";

/// Prefix of images of OCI registries.
const REGISTRY: &str = "docker://";

/// The image with its prefix.
#[must_use]
pub fn resolve(image: &str, annotation: Option<&str>, configured: &str) -> String {
    if image.starts_with('/') || has_scheme(image) {
        return image.to_owned();
    }
    let prefix = match annotation.unwrap_or(configured) {
        "" => REGISTRY,
        prefix => prefix,
    };
    format!("{prefix}{image}")
}

fn has_scheme(image: &str) -> bool {
    image.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_names_get_a_prefix() {
        let cases = [
            ("/img/a.sif", None, "docker://", "/img/a.sif"),
            ("docker://busybox", None, "oras://", "docker://busybox"),
            ("busybox:1", None, "docker://", "docker://busybox:1"),
            ("busybox:1", Some("/cvmfs/"), "docker://", "/cvmfs/busybox:1"),
            ("busybox:1", Some(""), "oras://r/", "docker://busybox:1"),
            ("busybox", None, "", "docker://busybox"),
            ("host:5000/a://b", None, "", "docker://host:5000/a://b"),
        ];
        for (image, annotation, configured, resolved) in cases {
            assert_eq!(resolve(image, annotation, configured), resolved, "{image}");
        }
    }
}
