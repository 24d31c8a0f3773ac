//! The page, seen through a real browser on a real node. Screenshots go to `target/screenshots/`.

use fantoccini::key::Key;
use nexus_tests::browser::{Browser, NodeProcess, Page, missing};
use nexus_tests::cluster::LocalCluster;
use serde_json::Value;

/// Runs `story` in a browser that ends with it, however it ends.
fn browse<F: Future<Output = ()> + Send + 'static>(test: &str, story: impl FnOnce(Page) -> F) {
    if let Some(reason) = missing() {
        println!("{test}: skipped: {reason}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let browser = Browser::start().await;
        let ended = tokio::spawn(story(browser.page())).await;
        browser.close().await;
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    });
}

/// A row of the tree by its name.
fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('.row')].find(row => row.querySelector('.label').textContent === '{name}')"
    )
}

/// The row under the keyboard's cursor.
const CURSOR: &str =
    "document.getElementById(document.getElementById('tree').getAttribute('aria-activedescendant'))";

/// Clicks a row as soon as it is there. In one step, because the list draws its rows anew with every answer of the node.
async fn click_row(page: &Page, name: &str) {
    page.until(&format!("(row => row && (row.click(), true))({})", row(name))).await;
}

async fn cursor_at(page: &Page, name: &str) {
    page.until(&format!("{CURSOR}.querySelector('.label').textContent === '{name}'")).await;
}

/// Goal: the page shows the whole node, finds an agent, breaks it and sees it heal, with the keyboard alone where that is
/// claimed, on a desktop and on a phone. Method: a story in one browser over a node that has replayed a week of flights.
#[test]
fn an_agent_is_killed_and_healed_through_the_page() {
    browse("an_agent_is_killed_and_healed_through_the_page", |page| async move {
        let node = NodeProcess::start(nexus_tests::nexus_binary!(), true);
        page.resize(1440, 960, false).await;
        page.open(&node.page()).await;
        sees_the_whole_tree(&page).await;
        kills_an_agent(&page).await;
        asks_it(&page).await;
        walks_by_keyboard(&page).await;
        kills_a_supervisor(&page).await;
        scrolls_through_a_family(&page).await;
        reads_it_on_a_phone(&page).await;
        assert_eq!(page.complaints().await, Vec::<String>::new());
    });
}

async fn sees_the_whole_tree(page: &Page) {
    page.until("document.getElementById('tree').offsetParent && !location.hash").await;
    page.until("document.querySelector('.feed .word').textContent === 'completed'").await;
    for name in [
        "nexus",
        "schedulers",
        "agents.sup",
        "airspace",
        "carriers",
        "carrier",
        "carrier/UA",
        "airports",
        "airport",
        "aircraft",
        "feeds.sup",
        "flights",
        "ops.sup",
        "debug",
    ] {
        page.until(&row(name)).await;
    }
    page.until("document.getElementById('readiness').textContent === 'Ready'").await;
    page.until("document.getElementById('node-name').textContent === 'airspace'").await;
    page.until("document.getElementById('rate').textContent !== '–'").await;
    page.until(&format!("{}.querySelector('.c-processed').textContent.includes(',')", row("carrier/UA")))
        .await;
    page.assert_no_sideways_scrolling("the wide page").await;
}

async fn kills_an_agent(page: &Page) {
    page.keys("/").await;
    page.until("document.activeElement.id === 'search'").await;
    page.keys("n14228").await;
    page.until(&format!("document.querySelectorAll('.row').length === 1 && {}", row("aircraft/N14228")))
        .await;
    page.press(Key::Enter).await;
    page.until("document.getElementById('details-name').textContent === 'aircraft/N14228'").await;
    page.until("document.querySelector('#details .value [data-key]')").await;
    page.until("document.querySelector('#details [data-action=kill]:enabled')").await;

    // Escape says no, and nothing happens; then yes, both without a mouse.
    page.eval("document.querySelector('#details [data-action=kill]').focus()").await;
    page.press(Key::Enter).await;
    page.until("document.getElementById('confirm').open && document.activeElement.textContent === 'Cancel'")
        .await;
    page.press(Key::Escape).await;
    page.until(
        "!document.getElementById('confirm').open && document.activeElement.dataset.action === 'kill'",
    )
    .await;
    page.press(Key::Enter).await;
    page.until("document.getElementById('confirm').open").await;
    page.press(Key::Tab).await;
    page.until("document.activeElement.id === 'confirm-yes'").await;
    page.press(Key::Enter).await;

    page.until(&format!("{}.classList.contains('flash')", row("aircraft/N14228"))).await;
    page.until(&format!("{}.querySelector('.c-restarts').textContent === '1'", row("aircraft/N14228"))).await;
    page.until(&format!("{}.querySelector('.c-exit').textContent === 'killed'", row("aircraft/N14228")))
        .await;
    page.until(&format!("{}.querySelector('.c-status').textContent === 'running'", row("aircraft/N14228")))
        .await;
    for event in ["supervision.child_exited", "supervision.child_restarted"] {
        let item = format!("document.querySelector('#event-list [data-event=\"{event}\"] .subject')");
        page.until(&format!("{item}.textContent === 'aircraft/N14228'")).await;
    }
    page.until("document.querySelector('.exits li').textContent.includes('killed')").await;
    page.until("document.getElementById('restarts').textContent === '1'").await;
}

async fn asks_it(page: &Page) {
    page.click(".ask > summary").await;
    page.click("#ask-key").await;
    page.keys("no-such-key").await;
    page.press(Key::Enter).await;
    page.until("document.getElementById('answer').dataset.tone === 'bad'").await;
    page.eval("document.getElementById('ask-key').select()").await;
    page.keys("summary").await;
    page.press(Key::Enter).await;
    let answer = page
        .until("document.getElementById('answer').dataset.tone === 'good' && document.getElementById('answer').textContent")
        .await;
    let answer: Value = serde_json::from_str(answer.as_str().expect("text")).expect("JSON");
    assert_eq!(answer["tailnum"], "N14228");
    page.screenshot("wide-search").await;
}

async fn walks_by_keyboard(page: &Page) {
    page.eval("document.getElementById('tree').focus()").await;
    // Escape closes the details, then the search.
    page.press(Key::Escape).await;
    page.until("document.getElementById('details').hidden && document.activeElement.id === 'tree'").await;
    page.press(Key::Escape).await;
    page.until(&row("carrier/UA")).await;

    page.press(Key::Home).await;
    cursor_at(page, "nexus").await;
    page.press(Key::Right).await;
    cursor_at(page, "schedulers").await;
    page.press(Key::Down).await;
    cursor_at(page, "agents.sup").await;
    for name in ["airspace", "carriers", "carrier", "carrier/UA"] {
        page.press(Key::Right).await;
        cursor_at(page, name).await;
    }
    page.until(&format!(
        "{CURSOR}.getAttribute('aria-level') === '6' && {CURSOR}.getAttribute('aria-posinset') === '1'"
    ))
    .await;
    page.press(Key::Down).await;
    page.until(&format!("{CURSOR}.getAttribute('aria-posinset') === '2'")).await;
    page.press(Key::Left).await;
    cursor_at(page, "carrier").await;
    page.press(Key::Left).await;
    page.until(&format!("{CURSOR}.getAttribute('aria-expanded') === 'false' && !({})", row("carrier/UA")))
        .await;
    page.press(Key::Right).await;
    page.until(&format!("{CURSOR}.getAttribute('aria-expanded') === 'true' && {}", row("carrier/UA"))).await;
    page.press(Key::Enter).await;
    page.until("document.getElementById('details-name').textContent === 'carrier'").await;
    page.until(&format!("{CURSOR}.getAttribute('aria-selected') === 'true'")).await;
    page.until("document.querySelector('.facts').textContent.includes('50 restarts in 10 s')").await;
    page.press(Key::Down).await;
    page.press(Key::Enter).await;
    page.until("document.getElementById('details-name').textContent === 'carrier/UA'").await;
    page.until("document.querySelector('#details [data-key=flights] dd').textContent").await;
    page.screenshot("wide").await;
    page.dark(true).await;
    page.screenshot("wide-dark").await;
    page.dark(false).await;
    page.press(Key::End).await;
    page.until(&format!("Number({CURSOR}.getAttribute('aria-level')) > 1")).await;
}

async fn kills_a_supervisor(page: &Page) {
    page.eval("document.getElementById('tree').scrollTop = 0").await;
    click_row(page, "airports").await;
    page.until("document.querySelector('.facts').textContent.includes('200 restarts in 10 s')").await;
    page.until("document.querySelector('#details [data-action=kill]:enabled')").await;
    page.click("#details [data-action=kill]").await;
    page.until("document.getElementById('confirm').open").await;
    page.click("#confirm-yes").await;
    page.until(&format!("{}.classList.contains('flash')", row("airports"))).await;
    page.until(&format!("{}.querySelector('.c-restarts').textContent === '1'", row("airports"))).await;
    page.until("document.querySelector('.exits li').textContent.includes('killed')").await;
    // What it had started for its feed is gone with it, and comes back with the next message.
    page.until(&row("airport")).await;
}

async fn scrolls_through_a_family(page: &Page) {
    // The inner `aircraft` is the family: the last supervisor with children before the operating ones.
    let family = "[...document.querySelectorAll('.row[aria-level=\"5\"]')].find(row => row.querySelector('.c-behavior').textContent === 'aircraft/*')";
    page.eval("document.getElementById('tree').scrollTop = 0").await;
    page.until(family).await;
    page.eval(&format!("({family}).querySelector('.twisty').click()")).await;
    let known = "document.querySelector('.row[aria-level=\"6\"][data-kind=agent][aria-label^=aircraft]')";
    let total = page.until(&format!("Number({known}.getAttribute('aria-setsize'))")).await;
    assert!(total.as_u64().expect("a number") > 2000, "{total} aircraft flew that week");
    page.eval(
        "document.getElementById('tree').scrollTop = document.getElementById('spacer').offsetHeight / 2",
    )
    .await;
    // Rows in the middle come when they are looked at, and few are held at a time.
    page.until("[...document.querySelectorAll('.row')].every(row => row.getAttribute('aria-label') !== 'loading') && Number(document.querySelector('.row').getAttribute('aria-posinset')) > 500").await;
    let drawn = page.eval("document.querySelectorAll('.row').length").await;
    assert!(drawn.as_u64().expect("a number") < 100, "{drawn} rows are drawn");
    page.until(&format!("Number({known}.getAttribute('aria-posinset')) > 500")).await;
    page.eval("document.getElementById('tree').focus()").await;
    page.press(Key::Home).await;
    cursor_at(page, "nexus").await;
}

async fn reads_it_on_a_phone(page: &Page) {
    page.press(Key::Escape).await;
    page.until("document.getElementById('details').hidden").await;
    for width in [360, 390] {
        page.resize(width, 844, true).await;
        page.until(&row("carrier/UA")).await;
        page.assert_no_sideways_scrolling("the tree").await;
        page.click("#views [data-view=events]").await;
        page.until("document.getElementById('event-list').offsetParent").await;
        page.assert_no_sideways_scrolling("the events").await;
        page.click("#views [data-view=letters]").await;
        page.until("document.getElementById('letter-list').offsetParent").await;
        page.assert_no_sideways_scrolling("the dead letters").await;
        page.click("#views [data-view=tree]").await;
        click_row(page, "carrier/UA").await;
        page.until("document.querySelector('#details [data-key=flights] dd').textContent").await;
        page.assert_no_sideways_scrolling("the details").await;
        page.screenshot("narrow-details").await;
        page.until("document.activeElement.getAttribute('aria-label') === 'Close details'").await;
        page.press(Key::Enter).await;
        page.until("document.getElementById('details').hidden").await;
    }
    page.screenshot("narrow").await;
    page.dark(true).await;
    page.screenshot("narrow-dark").await;
    page.click("#views [data-view=events]").await;
    page.screenshot("narrow-events-dark").await;
    page.dark(false).await;
}

/// Goal: without a token the page asks for it; a node that only shows says what would change that; a node that is gone is told,
/// and found again. Method: one node, killed and started again at the same address.
#[test]
fn the_page_survives_its_node() {
    browse("the_page_survives_its_node", |page| async move {
        let node = NodeProcess::start(nexus_tests::nexus_binary!(), false);
        page.open(node.address()).await;
        page.until("document.activeElement.id === 'token'").await;
        page.keys("not-the-token").await;
        page.press(Key::Enter).await;
        page.until("document.getElementById('login-reason').textContent.includes('not the right one')").await;
        page.keys(node.token()).await;
        page.press(Key::Enter).await;
        page.until(&row("nexus")).await;

        click_row(&page, "carrier/UA").await;
        page.until(
            "document.getElementById('no-control').textContent.includes('debug.allow_control = true')",
        )
        .await;
        let buttons = page.eval("document.querySelectorAll('#details [data-action]').length").await;
        assert_eq!(buttons, 0);

        let again = node.kill_and_start_again(|| ());
        page.until("document.getElementById('event-list').textContent.includes('flights')").await;
        page.until("document.getElementById('gone').hidden && document.getElementById('stream').textContent === 'live'").await;
        page.until(&row("carrier/UA")).await;
        drop(again);
        page.until("document.getElementById('gone-text').textContent.includes('Not connected')").await;
        page.until("document.getElementById('readiness').textContent === 'Unreachable'").await;
    });
}

/// Goal: the cluster is a picture: its nodes with state and agents, the links between all of them with delays and rates, and a loss as it
/// happens; on a phone, too. Method: three processes, one of which is killed.
#[test]
fn the_cluster_is_a_picture() {
    browse("the_cluster_is_a_picture", |page| async move {
        let topology = "[[agent]]\nname = \"box/*\"\nbehavior = \"kv\"\n";
        let cluster = LocalCluster::start(nexus_tests::nexus_binary!(), 3, topology, &[]);
        let endpoint = cluster.endpoint("air-1");
        for number in 0..9 {
            let path = format!("/api/agents/box/{number}/ask");
            let body = serde_json::json!({ "operation": "update", "key": "a", "payload": 1 });
            assert_eq!(endpoint.post_json(&path, &body).status, 200);
        }
        page.resize(1440, 960, false).await;
        let token = endpoint.token.as_deref().expect("one is generated");
        page.open(&format!("http://{}/#token={token}", endpoint.address)).await;
        page.until("document.getElementById('nodes').textContent === '3'").await;
        page.click("#show-cluster").await;
        page.until("document.activeElement.id === 'show-tree'").await;
        page.until("document.querySelectorAll('#cluster-map .node[data-tone=good]').length === 3").await;
        page.until("document.getElementById('cluster-standing').textContent === 'Ready'").await;
        // The link between the two others is known by what they tell.
        page.until("document.querySelectorAll('#cluster-map .link').length === 3").await;
        page.until("[...document.querySelectorAll('#cluster-map .link-words')].every(text => /\\d ms · .*B\\/s/.test(text.textContent))").await;
        let agents = "[...document.querySelectorAll('#cluster-map .node-agents')].reduce((sum, text) => sum + Number(text.textContent), 0)";
        page.until(&format!("{agents} === 9")).await;
        page.until("document.querySelectorAll('#cluster-nodes tbody tr').length === 3").await;
        page.assert_no_sideways_scrolling("the cluster").await;
        page.screenshot("cluster").await;

        cluster.kill("air-3");
        let lost = "document.querySelector('#cluster-map [data-node=\"air-3\"]')";
        page.until(&format!("{lost}.dataset.state === 'down' && {lost}.dataset.tone === 'bad'")).await;
        page.until("document.querySelectorAll('#cluster-map .link').length === 1").await;
        page.until("document.getElementById('nodes').textContent === '2 of 3'").await;
        page.until("document.querySelector('#event-list [data-event=\"cluster.member_down\"] .subject').textContent === 'air-3'").await;
        page.dark(true).await;
        page.screenshot("cluster-lost-dark").await;
        page.dark(false).await;

        page.resize(390, 844, true).await;
        page.click("#views [data-view=events]").await;
        page.click("#views [data-view=cluster]").await;
        page.until("document.getElementById('cluster-map').getBoundingClientRect().height > 100").await;
        page.assert_no_sideways_scrolling("the cluster on a phone").await;
        page.screenshot("cluster-narrow").await;
        page.click("#views [data-view=tree]").await;
        page.until(&row("cluster.sup")).await;
        assert_eq!(page.complaints().await, Vec::<String>::new());
        drop(cluster);
    });
}
