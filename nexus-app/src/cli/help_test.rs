//! The help of every command, and what the command line refuses.

use clap::CommandFactory as _;

use super::*;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    parse(line.split_whitespace().map(OsString::from))
}

/// Goal: help teaches: every command has a description and examples, and the whole is as written. Method: one snapshot each.
#[test]
fn help_of_every_command() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut names = vec![String::new()];
    names.extend(command.get_subcommands().map(|command| command.get_name().to_owned()));
    for name in names.iter().filter(|name| *name != "help") {
        let shown = match command.find_subcommand_mut(name) {
            Some(subcommand) => subcommand,
            None => &mut command,
        };
        let help = shown.render_long_help().to_string();
        assert!(help.contains("Examples:"), "{name}: {help}");
        let snapshot = if name.is_empty() { "help".to_owned() } else { format!("help_{name}") };
        insta::assert_snapshot!(snapshot, help);
        let nested = if name.is_empty() { Vec::new() } else { shown.get_subcommands().cloned().collect() };
        for mut command in nested.into_iter().filter(|command| command.get_name() != "help") {
            let snapshot = format!("help_{name}_{}", command.get_name());
            insta::assert_snapshot!(snapshot, command.render_long_help().to_string());
        }
    }
}

/// Goal: the definition is consistent in clap's own eyes.
#[test]
fn definition_is_consistent() {
    Cli::command().debug_assert();
}

/// Goal: what is documented parses, wherever the global option stands.
#[test]
fn good_lines() {
    for line in [
        "nexus run airspace.toml --exit-when-done --no-progress --log info,nexus_app=debug",
        "nexus check a.toml -o json",
        "nexus -o json check --schema",
        "nexus tree nexus/agents.sup --depth 1 --url http://h:1",
        "nexus agents --sort dead_lettered --reverse --limit 1000 --status down",
        "nexus ask carrier/UA summary --timeout 500ms",
        "nexus ask kv/a limit --update -3",
        "nexus tell kv/a limit --update 3 --priority 0.25",
        "nexus ask kv/a increment --action key=limit by=3",
        "nexus ask kv/a append --action --json -",
        "nexus tell kv/a limit --update 25 --node air",
        "nexus kill nexus/agents.sup --supervisor",
        "nexus level carrier/UA proactive",
        "nexus top --once --limit 20 --sort rate --interval 250ms",
        "nexus store",
        "nexus store check state",
        "nexus groups",
        "nexus groups desks --limit 10 -o json",
        "nexus events --follow --since 1200 --token-file token",
        "nexus schedulers -o json",
        "nexus performance -o json",
        "nexus bench",
        "nexus bench --list",
        "nexus bench --remote --quick",
        "nexus bench tell ask --rounds 3 --quick --svg a.svg --strict -o json",
        "nexus bench dormant --growth --agents 10000000 --live 0",
        "nexus run air.toml --set node.name=air-2 --set limits.inbox=64 --log-format json --stop-with-parent 1",
        "nexus check air.toml --set cluster.seeds=[\"a:1\"]",
        "nexus cluster up 3 airspace.toml --restart --tls --exit-when-done --set cluster.partition=quorum",
        "nexus cluster cert certs air-1 air-2=10.0.0.2,air-2.example --days 90",
        "nexus members --node air-1",
        "nexus links -o json",
        "nexus where aircraft/N14228",
        "nexus join 10.0.0.5:7072 --node air-4",
        "nexus leave --node air-4",
        "nexus drain air-2 --no-wait",
        "nexus drain air-2 --undo --node air-1",
        "nexus version",
    ] {
        if let Err(error) = parsed(line) {
            panic!("{line}: {error}");
        }
    }
}

/// Goal: contradictions and values out of range are usage errors, before anything happens.
#[test]
fn bad_lines() {
    for line in [
        "nexus",
        "nexus fly",
        "nexus run",
        "nexus check",
        "nexus check a.toml --schema",
        "nexus tree --limit 0",
        "nexus tree --depth 65",
        "nexus agents --sort size",
        "nexus agents --url http://h:1 --node a",
        "nexus ask carrier/UA",
        "nexus ask a k by=3",
        "nexus ask a k --update 1 --action",
        "nexus ask a k --action --default 1",
        "nexus ask a k --action by=3 --json {}",
        "nexus ask a k --timeout 0s",
        "nexus level a genius",
        "nexus top --interval 1ms",
        "nexus top --limit 501",
        "nexus bench --rounds 0",
        "nexus bench tell --remote",
        "nexus bench --agents 0",
        "nexus bench --part live",
        "nexus feeds -o yaml",
        "nexus run a.toml --set node.name",
        "nexus cluster",
        "nexus cluster up 0 a.toml",
        "nexus cluster up three a.toml",
        "nexus cluster up 3",
        "nexus cluster cert certs",
        "nexus cluster cert certs a=b:7072",
        "nexus join",
    ] {
        let error = parsed(line).expect_err(line);
        assert!(error.use_stderr(), "{line}");
    }
}
