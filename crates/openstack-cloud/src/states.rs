//! What each state of an instance means for a snapshot of it: one table, in the order in which it is asked. It knows nothing
//! of HTTP. The table for people is docs/instance-states.md, and a test holds the two together.

use model::{ErrorClass, Failure};

use crate::wire::nova::Server;

/// What a snapshot does with an instance in some state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is taken; the guest may answer, and is frozen where it has an agent.
    Live,
    /// It is taken; no guest answers.
    Silent,
    /// It is not taken.
    Refused(Refusal),
}

/// Why there is no snapshot in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    /// Transient where the state passes by itself: the saga waits and asks again.
    pub(crate) class: ErrorClass,
    /// Goes on after "instance NAME (ID)".
    pub(crate) sentence: &'static str,
}

impl Verdict {
    const fn until_done(code: &'static str, sentence: &'static str) -> Self {
        Self::Refused(Refusal { code, class: ErrorClass::Transient, sentence })
    }

    const fn never(code: &'static str, sentence: &'static str) -> Self {
        Self::Refused(Refusal { code, class: ErrorClass::Permanent, sentence })
    }
}

/// One row: Nova's `task_state` begins with, or Nova's `vm_state` is, this word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) word: &'static str,
    pub(crate) verdict: Verdict,
}

const fn row(word: &'static str, verdict: Verdict) -> Row {
    Row { word, verdict }
}

const UNKNOWN: Verdict =
    Verdict::never("INSTANCE_STATE_UNKNOWN", "is in a state that Holdfast does not know: report it");
const BUSY: Verdict =
    Verdict::until_done("INSTANCE_BUSY", "is at work on something its user asked for: wait until it is done");
const DELETED: Verdict = Verdict::never("INSTANCE_DELETED", "is deleted: take it out of the workload");
const MIGRATING: Verdict =
    Verdict::until_done("INSTANCE_MIGRATING", "is on its way to another host: wait until it is there");
const SHELVED: Verdict = Verdict::never(
    "INSTANCE_SHELVED",
    "is shelved and has no host that could read its disks: unshelve it, or take it out of the workload",
);
const RESIZED: Verdict =
    Verdict::never("INSTANCE_RESIZED", "was resized and may go back: confirm or revert the resize first");

/// What Nova does with it at the moment, by the beginning of the task's name. Any other task is `INSTANCE_BUSY`.
pub(crate) const TASKS: [Row; 9] = [
    row("deleting", DELETED),
    row("soft-deleting", DELETED),
    row("migrating", MIGRATING),
    row("resize_", MIGRATING),
    row("rebuild", Verdict::until_done("INSTANCE_REBUILDING", "is being rebuilt: wait until it is done")),
    row(
        "image_",
        Verdict::until_done(
            "INSTANCE_IMAGE_IN_THE_MAKING",
            "is being made into an image, which would end our point in time: wait until it is done",
        ),
    ),
    row("shelving", SHELVED),
    row("spawning", Verdict::until_done("INSTANCE_BUILDING", "is being built: wait until it is active")),
    row("", BUSY),
];

/// What it is when Nova does nothing with it.
pub(crate) const STATES: [Row; 12] = [
    row("active", Verdict::Live),
    row("stopped", Verdict::Silent),
    row("paused", Verdict::Silent),
    row("suspended", Verdict::Silent),
    row("building", Verdict::until_done("INSTANCE_BUILDING", "is being built: wait until it is active")),
    row(
        "rescued",
        Verdict::never("INSTANCE_RESCUED", "runs a rescue system instead of its own: unrescue it first"),
    ),
    row("resized", RESIZED),
    row("shelved", SHELVED),
    row("shelved_offloaded", SHELVED),
    row("soft-delete", DELETED),
    row("deleted", DELETED),
    row(
        "error",
        Verdict::never(
            "INSTANCE_IN_ERROR",
            "is in error, and nobody knows the state of its disks: see why (`openstack server show`), repair it, and \
             have its state reset",
        ),
    ),
];

/// The verdict of Nova's two states. Shape: total; a state that we do not know is refused.
pub(crate) fn verdict(vm_state: &str, task_state: &str) -> Verdict {
    let is_leaving = task_state.starts_with("deleting");
    let (rows, word): (&[Row], _) = match vm_state {
        // A new instance is building whatever the step.
        "building" if !is_leaving => (&STATES, vm_state),
        _ if task_state.is_empty() => (&STATES, vm_state),
        _ => (&TASKS, task_state),
    };
    let is_of = |row: &&Row| if word == vm_state { row.word == word } else { word.starts_with(row.word) };
    rows.iter().find(is_of).map_or(UNKNOWN, |row| row.verdict)
}

/// Refuses an instance of which there can be no snapshot in its state.
pub(crate) fn check(server: &Server) -> Result<(), Failure> {
    let Verdict::Refused(Refusal { code, class, sentence }) = verdict(&server.vm_state, &server.task_state)
    else {
        return Ok(());
    };
    let doing = match server.task_state.as_str() {
        "" => server.vm_state.clone(),
        task => format!("{}, {task}", server.vm_state),
    };
    let Server { name, id, .. } = server;
    Err(Failure::new(class, code, format!("instance {name} ({id}) {sentence} (it is {doing})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the documents say: | what it is | vm_state | task_state | verdict |
    fn documented() -> Vec<(String, String, String)> {
        let text = include_str!("../../../docs/instance-states.md");
        let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
        let rows = rows.filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let word = |cell: &str| cell.trim_matches('`').to_owned();
            let [_, _, vm_state, task_state, verdict, ..] = &cells[..] else { return None };
            Some((word(vm_state), word(task_state), word(verdict)))
        });
        rows.collect()
    }

    fn name(verdict: Verdict) -> String {
        match verdict {
            Verdict::Live => "live".to_owned(),
            Verdict::Silent => "silent".to_owned(),
            Verdict::Refused(refusal) => refusal.code.to_owned(),
        }
    }

    #[test]
    fn every_row_of_the_documents_is_what_the_code_does() {
        let rows = documented();
        assert!(rows.len() > 25, "only {} rows were read", rows.len());
        for (vm_state, task_state, wanted) in rows {
            let found = name(verdict(&vm_state, &task_state));
            assert_eq!(found, wanted, "vm_state {vm_state:?}, task_state {task_state:?}");
        }
    }

    #[test]
    fn every_row_of_the_code_is_in_the_documents() {
        let rows = documented();
        for row in STATES {
            assert!(rows.iter().any(|(state, task, _)| state == row.word && task.is_empty()), "{}", row.word);
        }
        for row in TASKS {
            assert!(
                rows.iter().any(|(_, task, _)| !task.is_empty() && task.starts_with(row.word)),
                "{}",
                row.word
            );
        }
    }

    #[test]
    fn a_state_that_passes_by_itself_is_worth_waiting_for_and_no_other() {
        for (vm_state, task_state, may_pass) in [
            ("active", "migrating", true),
            ("active", "powering-off", true),
            ("building", "networking", true),
            ("error", "", false),
            ("active", "deleting", false),
            ("rescued", "", false),
            ("new word", "", false),
        ] {
            let Verdict::Refused(refusal) = verdict(vm_state, task_state) else { panic!("{vm_state}") };
            assert_eq!(refusal.class.may_pass(), may_pass, "{vm_state} {task_state}");
        }
    }
}
