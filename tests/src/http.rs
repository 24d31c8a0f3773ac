//! A small HTTP client over plain sockets: what a test sends is what it writes.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A node's debug endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its token.
    pub token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Endpoint {
    /// A connection on which nothing waits for ever.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, ANSWER_MAX).expect("the endpoint listens");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("not zero");
        stream.set_write_timeout(Some(ANSWER_MAX)).expect("not zero");
        stream
    }

    /// The head of a request, with the token, up to its last header.
    #[must_use]
    pub fn head(&self, method: &str, path: &str) -> String {
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{}", self.address, token.unwrap_or_default())
    }

    /// Asks for `path`.
    ///
    /// # Panics
    /// If no answer comes.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.request(&format!("{}Connection: close\r\n\r\n", self.head("GET", path)))
    }

    /// Asks for `path` of a node that may be in no state to answer.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn try_get(&self, path: &str) -> io::Result<Answer> {
        self.try_request(&format!("{}Connection: close\r\n\r\n", self.head("GET", path)))
    }

    /// Asks for `path` and takes the JSON of a good answer.
    ///
    /// # Panics
    /// If the answer is not 200 with JSON.
    #[must_use]
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Posts nothing to `path`.
    ///
    /// # Panics
    /// If no answer comes.
    #[must_use]
    pub fn post(&self, path: &str) -> Answer {
        let head = self.head("POST", path);
        self.request(&format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n"))
    }

    /// Posts JSON to `path`.
    ///
    /// # Panics
    /// If no answer comes.
    #[must_use]
    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.try_post_json(path, body).expect("the endpoint answers")
    }

    /// Posts JSON to `path` of a node that may be killed meanwhile.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn try_post_json(&self, path: &str, body: &Value) -> io::Result<Answer> {
        let (head, body) = (self.head("POST", path), body.to_string());
        self.try_request(&format!(
            "{head}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
    }

    fn request(&self, request: &str) -> Answer {
        self.try_request(request).expect("the endpoint answers")
    }

    fn try_request(&self, request: &str) -> io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        parse(&bytes)
            .ok_or_else(|| io::Error::other(format!("no answer: {:?}", String::from_utf8_lossy(&bytes))))
    }
}

/// The first answer in `bytes`, which end with it.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// Reads until the other side closes, or `stream`'s time is up (`None` then).
///
/// # Panics
/// If the socket fails in another way than by being closed.
pub fn read_to_close(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut bytes, mut room) = (Vec::new(), [0; 8192]);
    loop {
        match stream.read(&mut room) {
            Ok(0) => return Some(bytes),
            Ok(read) => bytes.extend_from_slice(&room[..read]),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return None,
                // Closed with bytes of ours unread.
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => return Some(bytes),
                _ => panic!("{error}"),
            },
        }
    }
}
