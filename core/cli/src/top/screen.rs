//! The terminal: another screen while somebody looks, and everything as it was when he leaves, in whatever way.

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, IsTerminal, Read, Write, stdin, stdout};
use tokio::sync::mpsc;

/// To the other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// And back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The screen; without a terminal, nothing but a place to write to.
pub struct Screen {
    /// How the terminal was; none: there is none.
    before: Option<Termios>,
    keys: mpsc::Receiver<()>,
    /// Kept so that without a terminal nobody seems to leave.
    _typed: mpsc::Sender<()>,
}

impl Screen {
    /// Takes the terminal over, where there is one.
    pub fn enter() -> io::Result<Screen> {
        let (typed, keys) = mpsc::channel(1);
        if !(stdin().is_terminal() && stdout().is_terminal()) {
            return Ok(Screen { before: None, keys, _typed: typed });
        }
        let before = tcgetattr(stdin())?;
        let mut without_lines = before.clone();
        // Keys come at once and are not shown; Ctrl-C stays a signal.
        without_lines.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        without_lines.special_codes[SpecialCodeIndex::VMIN] = 1;
        without_lines.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin(), OptionalActions::Now, &without_lines)?;
        let screen = Screen { before: Some(before.clone()), keys, _typed: typed.clone() };
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // What it says is to be read afterwards.
            restore(&before);
            former(panic);
        }));
        stdout().write_all(ENTER.as_bytes())?;
        std::thread::spawn(move || read_keys(&typed));
        Ok(screen)
    }

    /// Columns and lines; none without a terminal.
    pub fn size(&self) -> Option<(usize, usize)> {
        self.before.as_ref()?;
        let size = tcgetwinsize(stdout()).ok();
        let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        Some(size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row))))
    }

    /// Resolves when `q` was typed.
    pub async fn left(&mut self) {
        self.keys.recv().await;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            restore(before);
        }
    }
}

fn restore(before: &Termios) {
    // Nobody is left to be told.
    let _ = stdout().write_all(LEAVE.as_bytes()).and_then(|()| stdout().flush());
    let _ = tcsetattr(stdin(), OptionalActions::Now, before);
}

/// Until `q` is typed, or nothing can be any more. It ends with the process.
fn read_keys(typed: &mpsc::Sender<()>) {
    let mut key = [0];
    while let Ok(1) = stdin().lock().read(&mut key) {
        if matches!(key, [b'q' | b'Q']) {
            let _ = typed.blocking_send(());
        }
    }
}

/// What draws these lines over those of before: nothing flickers.
pub fn page(lines: &[String]) -> String {
    let mut text = "\x1b[H".to_owned();
    for (index, line) in lines.iter().enumerate() {
        // The last line of the screen has no end, or all would move up.
        let end = if index + 1 < lines.len() { "\r\n" } else { "" };
        // The heads of page and table stand out.
        let (bold, plain) = if index == 0 || line.starts_with("PAIR ") { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        text.push_str(&format!("{bold}{line}{plain}\x1b[K{end}"));
    }
    text + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_drawn_over_the_one_before() {
        assert_eq!(page(&["one".to_owned(), "two".to_owned()]), "\x1b[H\x1b[1mone\x1b[0m\x1b[K\r\ntwo\x1b[K\x1b[J");
    }

    #[tokio::test]
    async fn without_a_terminal_nobody_leaves() {
        let (typed, keys) = mpsc::channel(1);
        let mut screen = Screen { before: None, keys, _typed: typed };
        assert_eq!(screen.size(), None);
        let left = tokio::time::timeout(std::time::Duration::from_millis(50), screen.left()).await;
        assert!(left.is_err());
    }
}
