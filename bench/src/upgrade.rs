//! The HTTP upgrade of a blocking socket to a WebSocket.

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Result, ensure};

/// Where a server takes WebSocket connections.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Loopback address.
    pub address: SocketAddr,
    /// Path with query.
    pub path: String,
    /// Whether the client offers permessage-deflate.
    pub offers_deflate: bool,
}

/// Asks for the upgrade; answers what followed the server's consent: the first frames, if it was quick.
///
/// # Errors
/// The server refuses, or the connection breaks.
pub fn upgrade(stream: &mut (impl Read + Write), endpoint: &Endpoint) -> Result<Vec<u8>> {
    stream.write_all(request(endpoint).as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer)?;
        ensure!(length > 0, "server closed during the upgrade");
        answer.extend_from_slice(&buffer[..length]);
        if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
            ensure!(
                answer.starts_with(b"HTTP/1.1 101"),
                "upgrade refused: {}",
                String::from_utf8_lossy(&answer)
            );
            return Ok(answer.split_off(end + 4));
        }
    }
}

/// What browsers offer.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// The key is RFC 6455's own example: nothing here depends on its being random.
fn request(endpoint: &Endpoint) -> String {
    let offer = if endpoint.offers_deflate { OFFER } else { "" };
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n",
        endpoint.path, endpoint.address
    )
}
