//! What a user does with the page and sees of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, Locator};
use serde_json::{Value, json};
use url::{ParseError, Url};

/// How long a condition may take to hold.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A browser's window.
#[derive(Clone, Debug)]
pub struct Page {
    client: Client,
}

impl Page {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Opens an address.
    pub async fn open(&self, url: &str) {
        // The same address with another fragment would not load anew.
        self.client.goto("about:blank").await.expect("an empty page");
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Waits until a JavaScript expression is true, looking at each frame, and gives its value.
    pub async fn until(&self, condition: &str) -> Value {
        let script = format!(
            "const done = arguments[0];
             const limit = performance.now() + {};
             const look = () => {{
               let value;
               try {{ value = ({condition}); }} catch (error) {{ value = null; }}
               if (value || performance.now() > limit) done(value || null);
               else requestAnimationFrame(look);
             }};
             look();",
            WAIT_MAX.as_millis()
        );
        let value = self.client.execute_async(&script, Vec::new()).await;
        let value = value.unwrap_or_else(|error| panic!("{condition}: {error}"));
        if value.is_null() {
            let shown = self.eval("document.body.innerText.slice(0, 3000)").await;
            panic!(
                "after {WAIT_MAX:?} still not so: {condition}\non the page:\n{}",
                shown.as_str().unwrap_or_default()
            );
        }
        value
    }

    /// The value of a JavaScript expression.
    pub async fn eval(&self, expression: &str) -> Value {
        let value = self.client.execute(&format!("return ({expression});"), Vec::new()).await;
        value.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Clicks on what a CSS selector finds.
    pub async fn click(&self, selector: &str) {
        let found = self.client.find(Locator::Css(selector)).await;
        let clicked = found.unwrap_or_else(|error| panic!("{selector}: {error}")).click().await;
        clicked.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Presses a key.
    pub async fn press(&self, key: Key) {
        self.keys(char::from(key).encode_utf8(&mut [0; 4])).await;
    }

    /// Types into whatever has the focus.
    pub async fn keys(&self, keys: &str) {
        let focused = self.client.active_element().await.expect("something has the focus");
        focused.send_keys(keys).await.unwrap_or_else(|error| panic!("{keys:?}: {error}"));
    }

    /// Gives the window another size, as a phone or a desktop.
    pub async fn resize(&self, width: u32, height: u32, phone: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        self.until(&format!("innerWidth === {width} && innerHeight === {height}")).await;
    }

    /// Asks for the dark or the light scheme.
    pub async fn dark(&self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
        self.until(&format!("matchMedia('(prefers-color-scheme: {scheme})').matches")).await;
    }

    /// Asserts that nothing is wider than the window.
    pub async fn assert_no_sideways_scrolling(&self, view: &str) {
        let sizes =
            self.eval("[document.scrollingElement.scrollWidth, document.body.scrollWidth, innerWidth]").await;
        let size = |at: usize| sizes[at].as_u64().expect("a number");
        assert!(size(0) <= size(2) && size(1) <= size(2), "{view} is wider than the window: {sizes}");
    }

    /// Puts a screenshot into `target/screenshots/`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let png = self.client.screenshot().await.expect("a screenshot");
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        std::fs::create_dir_all(&directory).expect("target is writable");
        let path = directory.join(format!("{name}.png"));
        std::fs::write(&path, png).expect("target is writable");
        path
    }

    /// What went wrong on the page since the last call: errors of scripts and of the content security policy.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.command("se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let severe =
            entries.iter().filter(|entry| entry["level"] == "SEVERE" && entry["source"] != "network");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn devtools(&self, method: &str, params: Value) -> Value {
        self.command("goog/cdp/execute", json!({ "cmd": method, "params": params })).await
    }

    async fn command(&self, path: &'static str, body: Value) -> Value {
        let command = Post { path, body };
        self.client.issue_cmd(command).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// A command of ChromeDriver's own.
#[derive(Debug)]
struct Post {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Post {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
