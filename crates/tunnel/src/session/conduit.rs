//! What carries one connection to the far end.

use interlink_transport::mux::MuxStream;
use russh::Channel;
use russh::client::Msg;
use tokio::net::UnixStream;

/// A way to the service behind the server.
pub enum Conduit {
    /// An SSH channel of its own.
    Channel(Channel<Msg>),
    /// A stream over the one command that all share.
    Mux(MuxStream),
    /// A connection that `ssh` carries.
    Local(UnixStream),
}

impl Conduit {
    /// Gives it up unused.
    pub async fn close(self) {
        match self {
            Self::Channel(channel) => {
                // Fails only when the session is gone, and the channel with it.
                let _ = channel.close().await;
            }
            // Dropped unfinished, it is reset.
            Self::Mux(_) | Self::Local(_) => {}
        }
    }
}
