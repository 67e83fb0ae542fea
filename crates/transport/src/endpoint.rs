//! Where a peer listens: a Unix socket or a TCP port.

use std::fmt;
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket, in bytes (`sun_path` of unix(7) without its final NUL).
pub const SOCKET_PATH_LIMIT: usize = 107;

/// A plain HTTP endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// Port; 0 lets the kernel choose (listeners only).
        port: u16,
    },
}

/// Not an endpoint: one sentence that says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EndpointError(String);

impl Endpoint {
    /// Reads the contract's pair of keys: `unix:///path`, where `port` is ignored, or `http://host` with `port`
    /// (`http://host:port` with an empty `port` is accepted too).
    ///
    /// # Errors
    /// [`EndpointError`] in words, without the names of the keys: the caller knows them.
    pub fn parse(url: &str, port: &str) -> Result<Self, EndpointError> {
        let wrong = |why: &str| Err(EndpointError(why.to_owned()));
        let (url, port) = (url.trim(), port.trim());
        if let Some(path) = url.strip_prefix("unix://") {
            return Self::unix(Path::new(path));
        }
        if url.starts_with("https://") {
            return wrong("https:// is not served by this version; use unix:///path or http://host");
        }
        let Some(rest) = url.strip_prefix("http://") else {
            return wrong(&format!("{url:?} has no known scheme; use unix:///path or http://host"));
        };
        let rest = rest.trim_end_matches('/');
        if rest.contains(['/', '?', '#', '@']) {
            return wrong(&format!("{url:?} must be http://host without a path or user"));
        }
        let (host, own_port) = split_port(rest);
        let port = match (own_port, port) {
            (Some(own), "") => own,
            (Some(own), given) if own == given => own,
            (Some(_), _) => return wrong(&format!("{url:?} names a port and the port key names another; keep one")),
            (None, "") => return wrong(&format!("{url:?} needs a port, such as 3000")),
            (None, given) => given,
        };
        let Ok(port) = port.parse::<u16>() else {
            return wrong(&format!("port {port:?} is not a number from 0 to 65535"));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return wrong(&format!("{url:?} has no host"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }

    /// A Unix socket at `path`, which must be absolute and short enough for the kernel.
    ///
    /// # Errors
    /// [`EndpointError`] in words.
    pub fn unix(path: &Path) -> Result<Self, EndpointError> {
        let length = path.as_os_str().len();
        if !path.is_absolute() {
            return Err(EndpointError(format!(
                "{:?} must be an absolute path, as in unix:///run/interlink/api.sock",
                path.display()
            )));
        }
        if length > SOCKET_PATH_LIMIT {
            return Err(EndpointError(format!(
                "{:?} is {length} bytes long, but the path of a Unix socket has at most {SOCKET_PATH_LIMIT}; choose a shorter directory",
                path.display()
            )));
        }
        Ok(Self::Unix(path.to_owned()))
    }

    /// The value of the `Host` header, which is `unix` for sockets.
    #[must_use]
    pub fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "unix".to_owned(),
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
        }
    }

    /// The socket's path, if it is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp { .. } => None,
        }
    }
}

fn split_port(rest: &str) -> (&str, Option<&str>) {
    match rest.rsplit_once(':') {
        // A colon inside of brackets belongs to an IPv6 address.
        Some((host, port)) if !port.contains(']') && (host.ends_with(']') || !host.contains(':')) => (host, Some(port)),
        _ => (rest, None),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { .. } => write!(f, "http://{}", self.authority()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_the_existing_programs_read_them() {
        let cases = [
            ("unix:///run/i.sock", "", "unix:///run/i.sock"),
            ("unix:///run/i.sock", "i.sock-1", "unix:///run/i.sock"),
            ("http://plugin", "4000", "http://plugin:4000"),
            ("http://0.0.0.0", "3000", "http://0.0.0.0:3000"),
            ("http://plugin:4000", "", "http://plugin:4000"),
            ("http://plugin:4000", "4000", "http://plugin:4000"),
            ("http://[::1]", "80", "http://[::1]:80"),
            ("http://[::1]:80", "", "http://[::1]:80"),
        ];
        for (url, port, shown) in cases {
            assert_eq!(Endpoint::parse(url, port).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn wrong_endpoints_are_explained() {
        let long = format!("unix:///{}", "x".repeat(107));
        let cases = [
            ("", "", "no known scheme"),
            ("plugin", "4000", "no known scheme"),
            ("https://plugin", "4000", "https"),
            ("http://plugin", "", "needs a port"),
            ("http://plugin", "zero", "not a number"),
            ("http://plugin:1", "2", "keep one"),
            ("http://", "1", "no host"),
            ("http://a/b", "1", "without a path"),
            ("unix://relative.sock", "", "absolute"),
            (long.as_str(), "", "at most 107"),
        ];
        for (url, port, why) in cases {
            let error = Endpoint::parse(url, port).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }
}
