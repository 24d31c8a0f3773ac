//! What the feed's tests share: feeds written as in a topology, files that go away, requests in one line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::config::FeedConfig;
use super::error::FeedError;
use super::mapping::Emission;
use super::producer::Producer;
use super::status::Counters;
use super::time::EventTime;

/// The flights' feed as `config/airspace.toml` has it, without its source.
pub(crate) const FLIGHTS: &str = r#"
name = "flights"
na = ["NA", ""]
reorder = "48h"

[[emit]]
to = ["aircraft/{tailnum}", "carrier/{carrier}", "airport/{origin}"]
action = "departure"
require = ["dep_time"]
at = { date = "{year}-{month}-{day}", clock = "sched_dep_time", plus_minutes = "dep_delay" }

[emit.fields]
flight = "{carrier}{flight}"
delay = { column = "dep_delay", type = "float" }
distance = { column = "distance", type = "int", required = true }
scheduled = { column = "sched_dep_time", type = "clock" }
dest = { column = "dest" }

[[emit]]
to = ["aircraft/{tailnum}", "carrier/{carrier}", "airport/{dest}"]
action = "arrival"
require = ["arr_time"]
at = { after_emit = 0, clock = "arr_time" }
fields = { delay = { column = "arr_delay", type = "float" }, air_time = { column = "air_time", type = "int" } }

[[emit]]
to = ["carrier/{carrier}", "airport/{origin}"]
action = "cancellation"
absent = ["dep_time"]
at = { date = "{year}-{month}-{day}", clock = "sched_dep_time" }
"#;

/// A feed without mapping to speak of: one action a record for the agent in column `a`.
pub(crate) const PLAIN: &str = r#"
name = "plain"
[[emit]]
to = ["x/{a}"]
action = "seen"
fields = { b = { column = "b", type = "int" } }
"#;

/// A feed from the text of its table, with `source` and other top keys put first.
pub(crate) fn config(keys: &str, table: &str) -> FeedConfig {
    toml::from_str(&format!("{keys}\n{table}")).unwrap()
}

/// The extract of flights that lies in the project.
pub(crate) fn week() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/data/flights-2013-01-week1.csv")
}

/// The flights' feed over the week.
pub(crate) fn flights() -> FeedConfig {
    config(&format!("source = {:?}", week()), FLIGHTS)
}

/// A folder of one test; it goes away with this.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nexus-feed-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A producer's whole output, its counters, and how it ended.
pub(crate) struct Run {
    pub(crate) emissions: Vec<Emission>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) ending: Result<(), FeedError>,
}

impl Run {
    pub(crate) fn of(config: &FeedConfig, base_dir: &Path) -> Self {
        let counters = Arc::new(Counters::default());
        let mut emissions = Vec::new();
        let ending = Producer::open(Arc::new(config.clone()), base_dir, 0, counters.clone()).and_then(
            |mut producer| {
                while let Some(batch) = producer.next_batch()? {
                    emissions.extend(batch);
                }
                Ok(())
            },
        );
        Self { emissions, counters, ending }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.emissions.iter().map(show).collect()
    }

    pub(crate) fn malformed(&self) -> Vec<String> {
        self.counters.first_malformed.lock().iter().map(ToString::to_string).collect()
    }

    /// The text of the error that ended it.
    pub(crate) fn error(&self) -> String {
        self.ending.as_ref().expect_err("an error is expected").to_string()
    }
}

/// A request in one line, the payload's keys sorted.
pub(crate) fn show(emission: &Emission) -> String {
    let at = emission.at.map_or("-".to_owned(), show_time);
    let mut payload = emission.payload.to_json().unwrap();
    payload.sort_all_objects();
    let operation = emission.operation.name();
    format!("{at} {} {operation} {} {payload}", emission.targets.join("+"), emission.key)
}

pub(crate) fn show_time(time: EventTime) -> String {
    jiff::Timestamp::from_millisecond(time.get()).unwrap().to_string()
}
