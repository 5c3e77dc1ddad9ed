//! Sockets and frames by hand, for what no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Opcodes of RFC 6455.
pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const PING: u8 = 0x9;

/// How long an answer to a handshake may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A request for a WebSocket.
pub(super) fn handshake(path: &str, key: Option<&str>) -> String {
    let authorization = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{authorization}\r\n"
    )
}

/// A client's frame: masked, with a mask of zeros.
pub(super) fn frame(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![opcode | if is_final { 0x80 } else { 0 }];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A connection whose kernel keeps about this many bytes that were not read.
pub(super) async fn connect_with(address: SocketAddr, receive_bytes: u32) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(receive_bytes)?;
    Ok(socket.connect(address).await?)
}

/// Opens a WebSocket, and returns when the server has switched.
pub(super) async fn open(address: SocketAddr, path: &str, key: Option<&str>) -> Result<TcpStream> {
    switch(TcpStream::connect(address).await?, path, key).await
}

/// As [`open`], on a connection as of [`connect_with`].
pub(super) async fn open_with(
    address: SocketAddr,
    path: &str,
    key: Option<&str>,
    receive_bytes: u32,
) -> Result<TcpStream> {
    switch(connect_with(address, receive_bytes).await?, path, key).await
}

async fn switch(mut socket: TcpStream, path: &str, key: Option<&str>) -> Result<TcpStream> {
    socket.write_all(handshake(path, key).as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match timeout(ANSWER, socket.read_u8()).await?? {
            byte if head.len() < 4_096 => head.push(byte),
            _ => bail!("the answer's head does not end"),
        }
    }
    match head.starts_with(b"HTTP/1.1 101") {
        true => Ok(socket),
        false => bail!("{}", String::from_utf8_lossy(&head)),
    }
}

/// Drops a connection as a crash does: the other side gets a reset.
pub(super) fn reset(socket: TcpStream) {
    // Where it fails the connection is gone already.
    let _ = socket.set_zero_linger();
    drop(socket);
}

/// Reads and forgets until the server ends the connection.
pub(super) async fn until_closed(socket: &mut TcpStream) {
    let mut scratch = vec![0; 16 * 1024];
    while socket.read(&mut scratch).await.is_ok_and(|count| count > 0) {}
}
