//! The other process: this binary once more, which says where it is and does what it is told, line by line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::load::Measured;

/// Every part is given a plan; this one asks for nothing, as the far side only does what it is told.
const PLAN: &str = r#"{"rounds":1,"quick":true,"agents":0,"live":0,"growth":false}"#;

/// The other process. It ends with this.
pub(crate) struct Far {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Far {
    /// Starts `part` of this binary.
    pub(crate) fn start(part: &str) -> Measured<Self> {
        let failed = |error: std::io::Error| format!("`{part}`: {error}");
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["bench", "--part", part, "--plan", PLAN])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("`{part}` has no pipes"));
        };
        Ok(Self { child, orders, answers: BufReader::new(answers) })
    }

    /// Tells it something and hears what it says to that.
    pub(crate) fn order(&mut self, order: &str) -> Measured<String> {
        writeln!(self.orders, "{order}").map_err(|error| format!("`{order}`: {error}"))?;
        let mut answer = String::new();
        match self.answers.read_line(&mut answer) {
            Ok(1..) => Ok(answer.trim_end().to_owned()),
            Ok(0) => Err(format!("the other process ended at `{order}`")),
            Err(error) => Err(format!("`{order}`: {error}")),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // It may have been stopped by a signal: it would not notice that its orders have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The far side: answers each order until there are no more.
pub(crate) fn obey(mut answer: impl FnMut(&str) -> Measured<String>) -> Measured<()> {
    for order in std::io::stdin().lock().lines() {
        let order = order.map_err(|error| error.to_string())?;
        let answer = answer(order.trim_end())?;
        writeln!(std::io::stdout().lock(), "{answer}").map_err(|error| error.to_string())?;
    }
    Ok(())
}
