//! Host certificates: whether one of the authorities on record vouches for this host, now (PROTOCOL.certkeys of OpenSSH).

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};

use super::known_hosts::glob;
use super::verify::Recorded;

/// Judges the certificate of a server, which proved that it holds the key inside. `now` is in seconds since 1970.
///
/// # Errors
/// In words, why it does not count.
pub fn vouches(
    certificate: &Certificate,
    host: &str,
    authorities: &[Recorded],
    revoked: &[Recorded],
    now: u64,
) -> Result<(), String> {
    let signer = certificate.signature_key();
    let known: Vec<_> = authorities.iter().filter(|a| a.key.key_data() == signer).collect();
    if known.is_empty() {
        return Err(format!(
            "it is signed by {}, which is no @cert-authority on record",
            signer.fingerprint(HashAlg::Sha256)
        ));
    }
    if let Some(line) =
        revoked.iter().find(|r| r.key.key_data() == signer || r.key.key_data() == certificate.public_key())
    {
        return Err(format!("its key or its authority is @revoked ({} line {})", line.file.display(), line.line));
    }
    if certificate.cert_type() != CertType::Host {
        return Err("it is for a user, not for a host".to_owned());
    }
    if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None }) {
        return Err("its authority signed it with SHA-1, which is forgeable".to_owned());
    }
    if certificate.critical_options().iter().next().is_some() {
        return Err("it has critical options, and none is defined for hosts".to_owned());
    }
    let (host, names) = (host.to_ascii_lowercase(), certificate.valid_principals());
    let named = |name: &String| glob(name.to_ascii_lowercase().as_bytes(), host.as_bytes());
    if !names.is_empty() && !names.iter().any(named) {
        return Err(format!("it is for {}, not for {host}", names.join(", ")));
    }
    let fingerprints: Vec<_> = known.iter().map(|a| a.key.fingerprint(HashAlg::Sha256)).collect();
    certificate.validate_at(now, &fingerprints).map_err(|_| {
        if now < certificate.valid_after() {
            "it is not valid yet; check the clocks".to_owned()
        } else if now >= certificate.valid_before() {
            "it is no longer valid".to_owned()
        } else {
            "its signature is wrong".to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;

    use russh::keys::PublicKey;

    use super::*;

    fn keygen(dir: &Path, args: &[&str]) {
        let output = Command::new("ssh-keygen").current_dir(dir).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn recorded(dir: &Path, name: &str) -> Vec<Recorded> {
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        let key = PublicKey::from_openssh(text.trim()).unwrap();
        vec![Recorded { key, file: Arc::from(Path::new("kh")), line: 1 }]
    }

    /// Arguments of ssh-keygen, the host, authorities, revoked keys, the time, and what is wrong.
    type Case<'a> = (&'a [&'a str], &'a str, &'a [Recorded], &'a [Recorded], u64, &'a str);

    #[test]
    fn a_certificate_counts_only_of_an_authority_on_record_for_this_host_and_now() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for name in ["ca", "other", "host"] {
            keygen(dir, &["-q", "-t", "ed25519", "-N", "", "-f", name]);
        }
        let (ca, other, host) = (recorded(dir, "ca.pub"), recorded(dir, "other.pub"), recorded(dir, "host.pub"));
        // 2001-01-01 to 2031-01-01
        let valid = "20010101000000Z:20310101000000Z";
        let now = 1_600_000_000;
        let cases: [Case<'_>; 11] = [
            (&["-h", "-n", "login.example.org"], "login.example.org", &ca, &[], now, ""),
            (&["-h", "-n", "login.example.org"], "LOGIN.example.org", &ca, &other, now, ""),
            (&["-h", "-n", "*.example.org"], "login.example.org", &ca, &[], now, ""),
            (&["-h"], "anything", &ca, &[], now, ""),
            (&["-h", "-n", "login.example.org"], "elsewhere", &ca, &[], now, "not for elsewhere"),
            (&["-h", "-n", "login"], "login", &other, &[], now, "no @cert-authority on record"),
            (&["-h", "-n", "login"], "login", &ca, &ca, now, "@revoked"),
            (&["-h", "-n", "login"], "login", &ca, &host, now, "@revoked"),
            (&["-n", "login"], "login", &ca, &[], now, "for a user"),
            (&["-h", "-n", "login"], "login", &ca, &[], 900_000_000, "not valid yet"),
            (&["-h", "-n", "login"], "login", &ca, &[], 1_950_000_000, "no longer valid"),
        ];
        for (args, name, authorities, revoked, now, expected) in cases {
            keygen(dir, &[&["-q", "-s", "ca", "-I", "id", "-V", valid], args, &["host.pub"]].concat());
            let text = std::fs::read_to_string(dir.join("host-cert.pub")).unwrap();
            let certificate = Certificate::from_openssh(text.trim()).unwrap();
            let said = vouches(&certificate, name, authorities, revoked, now).err().unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{args:?} {name}: {said}");
        }
    }

    #[test]
    fn an_authority_with_an_rsa_key_signs_with_sha2() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        keygen(dir, &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "ca"]);
        keygen(dir, &["-q", "-t", "ed25519", "-N", "", "-f", "host"]);
        let ca = recorded(dir, "ca.pub");
        for (algorithm, expected) in [("rsa-sha2-512", ""), ("rsa-sha2-256", ""), ("ssh-rsa", "SHA-1")] {
            keygen(dir, &["-q", "-s", "ca", "-t", algorithm, "-I", "id", "-h", "-n", "login", "host.pub"]);
            let text = std::fs::read_to_string(dir.join("host-cert.pub")).unwrap();
            let certificate = Certificate::from_openssh(text.trim()).unwrap();
            let said = vouches(&certificate, "login", &ca, &[], 1_900_000_000).err().unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{algorithm}: {said}");
        }
    }
}
