//! The least that `ssh-tunnel -rexec` can run at the far end: carries each connection to the socket it is given.

use std::path::Path;

use interlink_transport::{Endpoint, mux};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let socket = std::env::args_os().nth(1).ok_or("usage: far_end SOCKET")?;
    let io = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
    mux::answer(io, &Endpoint::unix(Path::new(&socket))?).await?;
    Ok(())
}
