//! How far an attempt came.

/// The steps to a tunnel, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The server's name becomes an address.
    Name,
    /// The address takes a TCP connection.
    Tcp,
    /// What answers there says that it speaks SSH.
    Greeting,
    /// Both sides find algorithms in common.
    Handshake,
    /// The server proves who it is.
    HostKey,
    /// The server lets us in.
    Login,
    /// The server carries connections for us, or listens.
    Forwarding,
    /// The service behind takes a connection.
    Service,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Name,
        Self::Tcp,
        Self::Greeting,
        Self::Handshake,
        Self::HostKey,
        Self::Login,
        Self::Forwarding,
        Self::Service,
    ];

    /// The step's name for a person.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "DNS",
            Self::Tcp => "TCP",
            Self::Greeting => "SSH banner",
            Self::Handshake => "SSH handshake",
            Self::HostKey => "host key",
            Self::Login => "login key",
            Self::Forwarding => "forwarding",
            Self::Service => "service",
        }
    }

    /// The step as something that takes time.
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Name => "looking up the name to connect",
            Self::Tcp => "the TCP connection",
            Self::Greeting => "the SSH banner, the first word of a server,",
            Self::Handshake | Self::HostKey => "the handshake",
            Self::Login => "logging in",
            Self::Forwarding => "opening a session",
            Self::Service => "a connection to the service",
        }
    }
}
