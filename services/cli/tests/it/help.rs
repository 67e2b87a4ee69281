//! Every command explains itself.

use crate::command::run;

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let commands = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = commands.lines().take_while(|line| !line.trim().is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|&name| name != "help")
        .map(str::to_owned)
        .collect()
}

fn walk(path: &[&str], leaves: &mut Vec<String>) {
    let mut arguments = path.to_vec();
    arguments.push("--help");
    let ran = run(&[], &arguments);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let below = subcommands(&ran.stdout);
    if below.is_empty() {
        assert!(ran.stdout.contains("Examples:\n  holdfast "), "no examples: {path:?}\n{}", ran.stdout);
        assert!(
            ran.stdout.contains(&format!("  holdfast {}", path.join(" "))),
            "{path:?} is not in its examples"
        );
        leaves.push(path.join(" "));
    }
    for name in &below {
        let mut deeper = path.to_vec();
        deeper.push(name);
        walk(&deeper, leaves);
    }
}

#[test]
fn the_help_of_every_command_has_examples_of_that_command() {
    let mut leaves = Vec::new();
    walk(&[], &mut leaves);
    let expected = [
        "workload create",
        "workload modify",
        "workload list",
        "workload show",
        "workload reset",
        "workload delete",
        "snapshot create",
        "snapshot list",
        "snapshot show",
        "snapshot cancel",
        "restore oneclick",
        "restore selective",
        "restore list",
        "restore show",
        "restore cancel",
        "saga list",
        "saga show",
        "saga cancel",
        "saga graph",
        "saga retry",
        "saga skip",
        "saga abandon",
        "bus dead list",
        "bus dead show",
        "bus dead retry",
        "bus dead drop",
        "target init",
        "target list",
        "target show",
        "trust create",
        "trust list",
        "trust show",
        "trust delete",
        "trust check",
        "doctor",
        "top",
        "key create",
    ];
    assert_eq!(leaves, expected);
    let top = run(&[], &["--help"]).stdout;
    assert!(top.contains("Examples:") && top.contains("Exit codes:"), "{top}");
}

#[test]
fn a_command_that_does_not_exist_gives_exit_code_2() {
    for arguments in [&["workloads"][..], &["snapshot", "create"], &["-f", "xml", "saga", "list"], &[]] {
        assert_eq!(run(&[], arguments).exit, 2, "{arguments:?}");
    }
}

#[test]
fn a_token_in_the_environment_is_not_shown_by_help() {
    let ran = run(&[("HOLDFAST_TOKEN", "hunter2hunter2hunter2")], &["--help"]);
    assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
}
