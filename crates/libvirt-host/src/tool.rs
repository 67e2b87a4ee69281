//! The one way to other programs: no shell, no environment of ours, an answer of bounded length, a deadline.
//!
//! Nothing secret is ever an argument: other users of the host may see them.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use model::ByteCount;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Command;

use crate::Error;

/// How much of what a program complains is kept. Units: bytes.
const COMPLAINT_LENGTH_MAX: u64 = 4096;

/// One run of a program.
#[derive(Debug)]
pub(crate) struct Tool {
    program: Cow<'static, str>,
    input: Option<Vec<u8>>,
    arguments: Vec<OsString>,
    timeout: Duration,
    answer_length_max: ByteCount,
}

impl Tool {
    /// `program`: one of ours, or one that the config names.
    pub(crate) fn new(
        program: impl Into<Cow<'static, str>>,
        timeout: Duration,
        answer_length_max: ByteCount,
    ) -> Self {
        Self { program: program.into(), input: None, arguments: Vec::new(), timeout, answer_length_max }
    }

    /// What it reads from its standard input; it may be secret.
    pub(crate) fn input(self, input: Vec<u8>) -> Self {
        Self { input: Some(input), ..self }
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Runs it to its end; gives what it printed.
    ///
    /// Errors: the `Tool…` ones. Cancel safe: the program is killed; what it had asked of others goes on.
    pub(crate) async fn run(self) -> Result<String, Error> {
        let mut command = Command::new(self.program.as_ref());
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let program = self.program.to_string();
        let failed = |source| Error::Tool { program: program.clone(), source };
        let mut child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::ToolMissing { program: program.clone() },
            _ => failed(source),
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdin, limit) = (child.stdin.take(), self.answer_length_max.0);
        let ended = async {
            let (answer, complaint, ()) = tokio::try_join!(
                read_answer(stdout, limit),
                read_complaint(stderr),
                give(stdin, self.input.as_deref())
            )?;
            Ok((child.wait().await?, answer, complaint))
        };
        let ended = tokio::time::timeout(self.timeout, ended).await;
        let ended = ended.map_err(|_| Error::ToolOverdue { command: self.words(), after: self.timeout })?;
        let (status, answer, complaint) = ended.map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::FileTooLarge => {
                Error::ToolTalkative { command: self.words(), limit: self.answer_length_max }
            }
            _ => failed(source),
        })?;
        if !status.success() {
            let said = one_line(&complaint);
            let said = if said.is_empty() { status.to_string() } else { said };
            return Err(Error::ToolRefused { command: self.words(), said });
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The command as an operator would type it.
    fn words(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| argument.to_string_lossy());
        let words: Vec<_> = std::iter::once(self.program.clone()).chain(arguments).collect();
        words.join(" ")
    }
}

/// A program that ends without reading it all says why by itself.
async fn give(to: Option<impl AsyncWrite + Unpin>, input: Option<&[u8]>) -> io::Result<()> {
    let (Some(mut to), Some(input)) = (to, input) else { return Ok(()) };
    match to.write_all(input).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Errors: `FileTooLarge` as soon as there are more than `limit` bytes.
async fn read_answer(from: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let Some(from) = from else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    from.take(limit + 1).read_to_end(&mut kept).await?;
    if kept.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(kept) }
}

/// Keeps the beginning and drops the rest: a full pipe would stop the program.
async fn read_complaint(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let Some(mut from) = from else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    (&mut from).take(COMPLAINT_LENGTH_MAX).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(kept)
}

fn one_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines =
        said.lines().map(|line| line.trim().trim_start_matches("error: ")).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ").replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(program: &'static str, timeout: Duration) -> Tool {
        Tool::new(program, timeout, ByteCount(1000))
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_by_its_deadline() {
        let error = make("sleep", Duration::from_millis(50)).args(["600"]).run().await.unwrap_err();
        assert_eq!(error.failure().code, "HOST_TOOL_OVERDUE", "{error}");
    }

    #[tokio::test]
    async fn a_program_that_talks_without_end_is_ended() {
        let error = make("yes", LONG).run().await.unwrap_err();
        assert!(matches!(error, Error::ToolTalkative { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_says_what_was_asked_and_what_was_said() {
        let error = make("ls", LONG).args(["/nonexistent; true"]).run().await.unwrap_err().to_string();
        assert!(error.starts_with("ls /nonexistent; true was refused: ls: "), "{error}");
        let missing = make("holdfast-no-such-program", LONG).run().await.unwrap_err();
        assert_eq!(missing.failure().code, "HOST_TOOL_MISSING");
    }

    #[tokio::test]
    async fn what_is_secret_goes_to_the_standard_input() {
        assert_eq!(make("cat", LONG).input(b"hunter2".to_vec()).run().await.unwrap(), "hunter2");
        make("true", LONG).input(vec![7; 1 << 20]).run().await.unwrap();
    }

    #[tokio::test]
    async fn nothing_of_our_environment_is_handed_on() {
        let answer = make("env", LONG).run().await.unwrap();
        let mut lines: Vec<_> = answer.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    }
}
