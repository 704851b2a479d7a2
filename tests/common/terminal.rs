//! A real terminal (tmux), into which is typed and whose screen is read.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer, on a machine that others share.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Terminal {
    socket: String,
}

impl Terminal {
    /// With a shell in `folder` that finds sandtest. `None`, said aloud, without tmux.
    pub fn open(folder: &Path, width: u16, height: u16) -> Option<Terminal> {
        // One that is ending must not be met again.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Terminal { socket: format!("sandtest-{}-{number}", std::process::id()) };
        let folder = folder.to_str().unwrap();
        let (width, height) = (width.to_string(), height.to_string());
        let shell = "bash --norc --noprofile";
        let opened = terminal
            .tmux(&["new-session", "-d", "-x", &width, "-y", &height, "-c", folder, shell])
            .or_else(|| {
                let _ =
                    writeln!(std::io::stderr(), "SKIPPED: tmux is not there, so terminals are not tested");
                None
            });
        opened?;
        let program = Path::new(env!("CARGO_BIN_EXE_sandtest")).parent().unwrap().display();
        terminal.type_line(&format!("export XDG_STATE_HOME={folder}/state PATH={program}:$PATH"));
        Some(terminal)
    }

    pub fn tmux(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("tmux")
            .args(["-L", &self.socket, "-f", "/dev/null"])
            .args(arguments)
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub fn type_line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]).unwrap();
        self.press("Enter");
    }

    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]).unwrap();
    }

    /// What is on it, without colours.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).unwrap_or_default()
    }

    pub fn wait_for(&self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    /// Waits until the screen is as it should be, and returns it.
    pub fn wait_until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < PATIENCE, "never: {what}; the screen is:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
