//! Any bytes as a frame of the data lane, as a body of envelopes, and as the body of a frame whose sender meant it: nothing panics, and no more
//! is read than there is.

#![no_main]

use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use nexus_cluster::transport::envelope::{self, Kind};
use nexus_cluster::transport::frame::{self, Header};
use nexus_cluster::transport::reader::Reader;

const BODY_BYTES_MAX: usize = 1 << 20;

fn read(body: &Bytes) {
    let mut reader = Reader::new(body);
    for decoded in envelope::decode(body, Duration::from_millis(5)) {
        let Ok(envelope) = decoded else { return };
        match envelope.kind {
            Kind::Tell | Kind::Ask => {
                if let Ok((to, _)) = reader.request(envelope.content) {
                    assert!(to < reader.targets().len());
                }
            }
            Kind::Publish => drop(reader.publication(envelope.content)),
            Kind::Reply => drop(reader.reply(envelope.content)),
            Kind::Fence => drop(envelope::read_fence(envelope.content)),
            Kind::Part | Kind::Cancel => {}
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(frame) = frame::decode(&bytes, BODY_BYTES_MAX) {
        assert!(frame.body.len() <= BODY_BYTES_MAX);
        read(&frame.body);
    }
    read(&bytes);
    for lz4_min_bytes in [0, usize::MAX] {
        let whole = frame::join(&frame::encode(&Header::default(), &bytes, lz4_min_bytes));
        let decoded = frame::decode(&whole, BODY_BYTES_MAX.max(bytes.len()));
        assert_eq!(decoded.map(|frame| frame.body), Ok(bytes.clone()));
    }
});
