//! Server-sent events. Source: WHATWG HTML, section "Server-sent events", event stream interpretation.

use std::io::{self, BufRead, BufReader, Read};

/// The longest line and the longest event in bytes; a stream with longer ones is no stream of ours.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The last id seen, which a reconnecting reader names.
    pub(crate) id: Option<String>,
    /// Its type; `message` if the stream names none.
    pub(crate) kind: String,
    /// Its lines.
    pub(crate) data: String,
}

/// The events of a stream, until it ends.
#[derive(Debug)]
pub(crate) struct SseReader<R> {
    reader: BufReader<R>,
    last_id: Option<String>,
}

impl<R: Read> SseReader<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), last_id: None }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let limit = u64::try_from(EVENT_BYTES_MAX).expect("1 MiB fits");
        self.reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        match line.pop() {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) if line.len() + 1 < EVENT_BYTES_MAX => return Ok(None),
            Some(_) => return Err(too_long()),
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    fn event(&mut self) -> io::Result<Option<SseEvent>> {
        let mut kind = String::new();
        let mut data: Option<String> = None;
        loop {
            // The end of the stream drops an event without its empty line, as the specification asks.
            let Some(line) = self.line()? else { return Ok(None) };
            if line.is_empty() {
                let Some(data) = data.take() else {
                    kind.clear();
                    continue;
                };
                let kind = if kind.is_empty() { "message".to_owned() } else { kind };
                return Ok(Some(SseEvent { id: self.last_id.clone(), kind, data }));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => kind = value.to_owned(),
                "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
                "data" => match &mut data {
                    None => data = Some(value.to_owned()),
                    Some(data) if data.len() + value.len() >= EVENT_BYTES_MAX => return Err(too_long()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                },
                // Comments keep the connection open; other fields are to be ignored.
                _ => {}
            }
        }
    }
}

impl<R: Read> Iterator for SseReader<R> {
    type Item = io::Result<SseEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        self.event().transpose()
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("an event is longer than {EVENT_BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<SseEvent> {
        SseReader::new(text.as_bytes()).map(Result::unwrap).collect()
    }

    /// Goal: fields, comments, several data lines, CRLF, ids that last, and an unfinished last event, as specified.
    #[test]
    fn streams_are_interpreted() {
        let stream = ": hello\r\n\r\nid: 7\r\nevent: agent.started\r\ndata: {\"a\":1}\r\n\r\n\
                      data:one\ndata: two\n\nevent: dropped\n\nretry: 5\ndata\n\ndata: unfinished\n";
        let expected = [("agent.started", "{\"a\":1}"), ("message", "one\ntwo"), ("message", "")];
        let found = events(stream);
        assert_eq!(found.iter().map(|e| (e.kind.as_str(), e.data.as_str())).collect::<Vec<_>>(), expected);
        assert!(found.iter().all(|event| event.id.as_deref() == Some("7")));
    }

    /// Goal: a line without end is refused instead of held in memory.
    #[test]
    fn endless_lines_are_refused() {
        let error = SseReader::new(io::repeat(b'x')).next().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
