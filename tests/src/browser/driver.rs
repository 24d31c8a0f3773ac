//! ChromeDriver and the browser it steers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::wd::TimeoutConfiguration;
use fantoccini::{Client, ClientBuilder};
use serde_json::json;
use tempfile::TempDir;

use super::{Page, await_line, end};

/// The longest a script may wait for its condition; longer than any condition's own limit.
const SCRIPT_MAX: Duration = Duration::from_secs(120);

/// What of the browser is not installed, in a sentence for whoever reads the test's output. `None`: all is there.
#[must_use]
pub fn missing() -> Option<String> {
    let absent: Vec<&str> =
        ["chromium", "chromedriver"].into_iter().filter(|name| find(name).is_none()).collect();
    (!absent.is_empty())
        .then(|| format!("{} not found in PATH (Debian: chromium, chromium-driver)", absent.join(" and ")))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A browser with one window and a fresh profile.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    driver: Driver,
}

/// ChromeDriver's process. It ends the browser when it is told to end.
#[derive(Debug)]
struct Driver {
    child: Child,
    profile: TempDir,
}

impl Browser {
    /// Starts one.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a temporary directory");
        let program = find("chromedriver").expect("`missing` was asked");
        let child = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut driver = Driver { child, profile };
        let stdout = driver.child.stdout.take().expect("it is piped");
        let port = await_line(stdout, "chromedriver", |line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let client = connect(port, driver.profile.path()).await;
        Self { client, driver }
    }

    /// Its window.
    #[must_use]
    pub fn page(&self) -> Page {
        Page::new(self.client.clone())
    }

    /// Ends it in order.
    pub async fn close(self) {
        let _ = self.client.close().await;
        drop(self.driver);
    }
}

async fn connect(port: u16, profile: &Path) -> Client {
    let capabilities = json!({
        "goog:chromeOptions": {
            "binary": find("chromium").expect("`missing` was asked"),
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1440,900",
                format!("--user-data-dir={}", profile.display()),
            ],
        },
        "goog:loggingPrefs": { "browser": "ALL" },
    });
    let capabilities = capabilities.as_object().expect("an object").clone();
    let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
        .capabilities(capabilities)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await
        .expect("chromedriver starts chromium");
    let timeouts = TimeoutConfiguration::new(Some(SCRIPT_MAX), Some(SCRIPT_MAX), Some(Duration::ZERO));
    client.update_timeouts(timeouts).await.expect("chromedriver knows time limits");
    client
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        end(&mut self.child, Duration::from_secs(5));
        let _ = self.profile.path();
    }
}
