//! Crash traces from OTP's documentation, run against the pure core and against real actors.
//!
//! `testdata/*.txt` holds cases: the sentence of the manual they come from, a tree, and a session of commands (`> `) with
//! what is to be seen after each. Both worlds must show exactly that. `UPDATE_TRACES=1` rewrites the expectations from the
//! pure world, to be read against the manual before they are committed.

mod pure;
mod random;
mod real;
mod script;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use self::script::{Case, Command};

/// Something that carries out the commands of a script.
trait World {
    /// Carries out one command, lets everything settle, and returns what was seen.
    async fn run(&mut self, command: &Command) -> Vec<String>;
}

fn files() -> Vec<(PathBuf, Vec<Case>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/supervision/testdata");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let cases = script::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, cases)
        })
        .collect()
}

async fn seen(case: &Case, world: &mut impl World) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for step in &case.steps {
        all.push(world.run(&step.command).await);
    }
    all
}

fn check(world: &str, path: &std::path::Path, case: &Case, seen: Vec<Vec<String>>) {
    let expected: Vec<_> = case.steps.iter().map(|step| step.expected.clone()).collect();
    assert!(
        expected == seen,
        "{} in {} differs in the {world} world; expected\n{}\nseen\n{}",
        case.name,
        path.display(),
        case.session(&expected),
        case.session(&seen),
    );
}

/// Goal: the table is as large as promised, every case has its source, and no two have the same name.
#[test]
fn there_are_at_least_60_cases_with_their_sources() {
    let cases: Vec<_> = files().into_iter().flat_map(|(_, cases)| cases).collect();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "names are unique");
    for case in &cases {
        assert!(
            case.rule.starts_with("supervisor(3)")
                || case.rule.starts_with("Supervisor Behaviour")
                || case.rule.starts_with("supervisor.erl")
                || case.rule.starts_with("Extension"),
            "{} names no source: {}",
            case.name,
            case.rule
        );
    }
}

/// Goal: the pure core makes OTP's decisions.
#[tokio::test]
async fn the_core_follows_otp() {
    for (path, mut cases) in files() {
        let update = std::env::var_os("UPDATE_TRACES").is_some();
        for case in &mut cases {
            let seen = seen(case, &mut pure::PureWorld::new(&case.tree)).await;
            if update {
                for (step, seen) in case.steps.iter_mut().zip(seen) {
                    step.expected = seen;
                }
            } else {
                check("pure", &path, case, seen);
            }
        }
        if update {
            fs::write(&path, cases.iter().map(Case::to_string).collect::<Vec<_>>().join("\n")).unwrap();
        }
    }
}

/// Goal: real actors under the shell show the same, to the line.
#[tokio::test(start_paused = true)]
async fn the_actors_follow_the_core() {
    for (path, cases) in files() {
        for case in &cases {
            let seen = seen(case, &mut real::RealWorld::new(&case.tree).await).await;
            check("real", &path, case, seen);
        }
    }
}
