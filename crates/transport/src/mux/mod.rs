//! Many connections over one stream of bytes, such as the stdin and stdout of a command behind SSH.
//!
//! ```text
//!   opener                                  answerer
//!      │ ◀──── banners …, "interlink-mux/1" ───│   says what it is; whatever comes before is skipped
//!      │ ───── "interlink-mux/1" ─────────────▶│   nothing is sent before: a shell would take it for commands
//!      │ ◀════ yamux ═════════════════════════▶│
//!      │ ───── stream: 0 ─────────────────────▶│   dials its service
//!      │ ◀──── 0, or 1 and why not ────────────│
//!      │ ◀──── bytes of the connection ───────▶│
//!      │ ───── stream: 1, number ─────────────▶│   ends that connection: nobody is left who would read
//! ```
//!
//! Each connection has a window of its own, so a reader that stands still holds up nobody else.
//!
//! | module | what |
//! |---|---|
//! | [`greeting`] | the line that begins, found behind banners (pure) |
//! | [`mod@opener`] | the side that opens connections |
//! | [`answerer`] | the side that dials for them |
//! | [`stream`] | one connection |
//! | [`mod@carry`] | bytes both ways between a connection here and one over the stream |
//! | `driver` | turns the wheel |

pub mod answerer;
pub mod carry;
mod driver;
pub mod greeting;
pub mod opener;
pub mod stream;

pub use answerer::answer;
pub use carry::{carry, carry_counted};
pub use greeting::{Greeting, GreetingError};
pub use opener::{OpenError, Opener, opener};
pub use stream::MuxStream;

/// Connections open at once. Each may hold back its first window (256 KiB) at either end.
const STREAMS: usize = 4096;

/// What all windows together may grow beyond their first size, for long fat links.
const GROWTH: usize = 256 << 20;

/// The first byte of each stream: what is wanted.
const WANT_SERVICE: u8 = 0;
/// The first byte of a stream that breaks off another, whose number follows (four bytes, big-endian). The library can
/// break off a stream only as long as it has not passed on its end.
const WANT_ABORT: u8 = 1;
/// The answer: here it is.
const CONNECTED: u8 = 0;
/// The answer: it can't be had, for the reason that follows (one byte of length, text).
const REFUSED: u8 = 1;

fn config() -> yamux::Config {
    // A stream that is gone is counted until the driver has turned; so the library's own limit, which ends everything,
    // lies above ours.
    let streams = STREAMS * 2;
    let mut config = yamux::Config::default();
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(streams);
    config.set_max_connection_receive_window(Some(streams * yamux::DEFAULT_CREDIT as usize + GROWTH));
    config
}
