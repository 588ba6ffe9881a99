//! For tests: archives made byte by byte, so that they can be wrong, and a server that can be worse.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::digest::{Algorithm, Hasher};

/// One entry: a header in the ustar format, and the content padded.
pub(crate) fn entry(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, kind, content.len() as u64);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A regular file.
pub(crate) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name.as_bytes(), b'0', content)
}

/// A header alone, which may promise what does not follow.
pub(crate) fn header(name: &[u8], kind: u8, size: u64) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name);
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = kind;
    if matches!(kind, b'1' | b'2') {
        header[157..163].copy_from_slice(b"target");
    }
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// The PAX header with one record that changes the next entry.
pub(crate) fn pax(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..).find(|length: &usize| rest + length.to_string().len() == *length).unwrap();
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    entry(b"PaxHeaders/x", b'x', &record)
}

/// The entries and the end marker.
pub(crate) fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish().to_string()
}

/// What the server does with one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// The body with its length.
    Body(Vec<u8>),
    /// The body after some time.
    Late(Duration, Vec<u8>),
    /// A status with headers, and no body.
    Status(u16, &'static str),
    /// A length, half of the body, and the connection closed.
    Broken(Vec<u8>),
    /// No length; the body until the connection closes.
    Unsized(Vec<u8>),
    /// No length; the same bytes again and again.
    Endless(Vec<u8>),
    /// A byte, a wait, a byte...
    Trickle(Duration, Vec<u8>),
    /// Nothing at all.
    Silence,
}

/// Counts its requests and answers each by number and path.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let (answer, counter) = (Arc::new(answer), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, counter) = (Arc::clone(&answer), Arc::clone(&counter));
                tokio::spawn(async move {
                    let path = request_path(&mut stream).await;
                    let reply = answer(counter.fetch_add(1, Ordering::SeqCst), &path);
                    // A client that goes away is part of the tests.
                    let _ = send(&mut stream, reply).await;
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn request_path(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(request).unwrap().split(' ').nth(1).unwrap_or_default().to_owned()
}

async fn send(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    const UNSIZED: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let sized = |length: usize| format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    match reply {
        Reply::Body(body) => {
            stream.write_all(sized(body.len()).as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Late(delay, body) => {
            tokio::time::sleep(delay).await;
            stream.write_all(sized(body.len()).as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Status(status, headers) => {
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n");
            stream.write_all(head.as_bytes()).await?;
        }
        Reply::Broken(body) => {
            stream.write_all(sized(body.len()).as_bytes()).await?;
            stream.write_all(&body[..body.len() / 2]).await?;
        }
        Reply::Unsized(body) => {
            stream.write_all(UNSIZED).await?;
            stream.write_all(&body).await?;
        }
        Reply::Endless(body) => {
            stream.write_all(UNSIZED).await?;
            loop {
                stream.write_all(&body).await?;
            }
        }
        Reply::Trickle(delay, body) => {
            stream.write_all(sized(body.len()).as_bytes()).await?;
            for byte in body {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(delay).await;
            }
        }
        Reply::Silence => tokio::time::sleep(Duration::from_secs(60)).await,
    }
    stream.shutdown().await
}
