//! The terminal while `top` has it: another screen, no echo, no cursor; as it was again at the end, whatever the end is.

use std::io::{self, Stdout, Write, stdout};
use std::sync::Once;

use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue, style};

use super::app::Row;

/// The terminal, taken.
#[derive(Debug)]
pub struct Screen {
    out: Stdout,
    colour: bool,
}

impl Screen {
    /// Takes it.
    ///
    /// # Errors
    /// The terminal's.
    pub fn take(colour: bool) -> io::Result<Screen> {
        give_back_on_panic();
        enable_raw_mode()?;
        let mut screen = Screen { out: stdout(), colour };
        execute!(screen.out, EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Columns and lines that it has.
    pub fn size(&self) -> (usize, usize) {
        let (columns, lines) = size().unwrap_or((80, 24));
        (usize::from(columns), usize::from(lines))
    }

    /// Shows these lines, from the first on.
    ///
    /// # Errors
    /// The terminal's.
    pub fn show(&mut self, rows: &[Row], width: usize) -> io::Result<()> {
        queue!(self.out, BeginSynchronizedUpdate)?;
        for (at, row) in (0..).zip(rows) {
            queue!(self.out, cursor::MoveTo(0, at))?;
            if row.chosen {
                // Not a colour: it is there without any.
                queue!(self.out, style::SetAttribute(style::Attribute::Reverse))?;
                write!(self.out, "{}", row.line.filled(width))?;
                queue!(self.out, style::SetAttribute(style::Attribute::Reset))?;
            } else {
                write!(self.out, "{}", row.line.painted(self.colour))?;
                queue!(self.out, Clear(ClearType::UntilNewLine))?;
            }
        }
        queue!(self.out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // A terminal that is gone takes nothing.
    let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

/// Whoever reads of a panic must be able to.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}
