//! Which sequence of requests a feed is: by this a place in it is known to be one in the same sequence after a restart.
//!
//! Blocking: it reads the two ends of the source.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::config::{FeedConfig, Replay};
use super::error::FeedError;
use super::source::Origin;

/// Bytes looked at from each end of a source.
const END: u64 = 64 * 1024;

/// The digest of what decides a feed's sequence: how records are read and mapped, and the source by its name as it is written, its
/// size, and its first and last 64 KiB. What changes the pace only, or what is done with malformed records, is left out.
///
/// It does not see a change in the middle of a file that keeps its size.
///
/// `None` for a source that gives its bytes once: standard input, a pipe, a device.
///
/// # Errors
/// The source cannot be opened or read.
pub(crate) fn digest(config: &FeedConfig, base_dir: &Path) -> Result<Option<u64>, FeedError> {
    let origin = Origin::of(config, base_dir);
    let Origin::File(path) = &origin else { return Ok(None) };
    let failed = |source| FeedError::Open { file: origin.label(), source };
    // A pipe is not opened: that would wait for its writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Ok(None);
    }
    let mut hash = Xxh3::new();
    hash.update(&mapping(config));
    hash_ends(path, &mut hash).map_err(failed)?;
    Ok(Some(hash.digest()))
}

/// The configuration as far as the sequence depends on it.
fn mapping(config: &FeedConfig) -> Vec<u8> {
    let config = FeedConfig { replay: Replay::Fast, rejects: None, max_malformed: 0.0, ..config.clone() };
    serde_json::to_vec(&config).expect("a configuration is plain data with text for keys")
}

fn hash_ends(path: &Path, hash: &mut Xxh3) -> io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    hash.update(&size.to_le_bytes());
    let mut end = Vec::new();
    file.by_ref().take(END).read_to_end(&mut end)?;
    hash.update(&end);
    file.seek(SeekFrom::Start(size.saturating_sub(END)))?;
    end.clear();
    file.take(END).read_to_end(&mut end)?;
    hash.update(&end);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::test_support::{Folder, PLAIN, config};

    /// Goal: the same feed has the same digest; another mapping, name, size or end has another; pace and rejects do not matter.
    #[test]
    fn a_digest_tells_sequences_apart() {
        let folder = Folder::new();
        let text = "a,b\n".to_owned() + &"1,2\n".repeat(100_000);
        folder.write("f.csv", &text);
        folder.write("g.csv", &text);
        let feed = |keys: &str| config(&format!("source = \"f.csv\"\n{keys}"), PLAIN);
        let of = |config: &FeedConfig| digest(config, folder.path()).unwrap().unwrap();
        let one = of(&feed(""));
        assert_eq!(one, of(&feed("replay = { rate = 9.0 }\nmax_malformed = 0.5\nrejects = \"r\"")));
        assert_ne!(one, of(&feed("na = [\"1\"]")));
        assert_ne!(one, of(&config("source = \"g.csv\"", PLAIN)));
        let rewrite = |at: usize, byte: &str| {
            let mut text = text.clone();
            text.replace_range(at..=at, byte);
            folder.write("f.csv", text);
            of(&feed(""))
        };
        assert_ne!(one, rewrite(4, "7"), "the first record");
        assert_ne!(one, rewrite(text.len() - 2, "7"), "the last one");
        assert_eq!(one, rewrite(text.len() / 2, "7"), "what it cannot see");
        folder.write("f.csv", text.clone() + "1,2\n");
        assert_ne!(one, of(&feed("")), "one more record");
    }

    /// Goal: what cannot be read again has no digest, what cannot be read at all is an error with its name.
    #[test]
    fn what_cannot_be_read_again_has_none() {
        let folder = Folder::new();
        let of = |source: &str| {
            digest(&config(&format!("source = \"{source}\"\nformat = \"csv\""), PLAIN), folder.path())
        };
        assert_eq!(of("-").unwrap(), None);
        assert_eq!(of("/dev/null").unwrap(), None);
        let missing = of("none.csv").unwrap_err().to_string();
        assert!(missing.contains("none.csv: cannot open"), "{missing}");
    }
}
