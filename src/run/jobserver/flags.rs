//! `MAKEFLAGS`: where a jobserver is, and where jobs find theirs.
//!
//! ```text
//! kn -j4 --jobserver-auth=fifo:/tmp/GMfifo7        -j4 --jobserver-auth=3,4
//! └ single letters, if the first word has no dash      └ descriptors, open only where make sees a make in us
//! ```

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// Other variables in which programs look for a jobserver: cargo's own, and what make gives those that parse the old way.
pub const OTHERS: [&str; 2] = ["CARGO_MAKEFLAGS", "MFLAGS"];

/// What stands in `MAKEFLAGS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// `make -n`: nothing is to be done.
    pub is_dry_run: bool,
    /// The jobserver, if one is named.
    pub server: Option<Server>,
    /// All that has nothing to do with it.
    rest: Vec<String>,
    /// Whether the first word of `rest` is single letters.
    has_letters: bool,
}

/// Where its tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// A named pipe.
    Fifo(PathBuf),
    /// Two descriptors that we should have.
    Pipe {
        /// To take tokens from.
        read: RawFd,
        /// To give them back to.
        write: RawFd,
    },
}

impl Flags {
    /// What the variable says; `None` stands for one that is not set.
    pub fn parse(text: Option<&str>) -> Flags {
        let text = text.unwrap_or_default();
        let mut flags = Flags { is_dry_run: false, server: None, rest: Vec::new(), has_letters: false };
        for (at, word) in text.split_whitespace().enumerate() {
            // A blank in front: make has no single letters to tell of.
            let is_first = at == 0 && !text.starts_with(char::is_whitespace);
            // What follows are variables, `NAME=VALUE`; and so may be the first word.
            if is_first && !word.starts_with('-') && !word.contains('=') {
                flags.is_dry_run = word.contains('n');
                flags.has_letters = true;
                flags.rest.push(word.to_owned());
            } else if word == "--" || flags.rest.iter().any(|word| word == "--") {
                flags.rest.push(word.to_owned());
            } else if let Some(auth) = auth(word) {
                // Of several the last one counts; one that says nothing says that there is none.
                flags.server = server(auth);
            } else if !is_jobs(word) {
                flags.rest.push(word.to_owned());
            }
        }
        flags
    }

    /// What all jobs are told in the place of what we were told; `None` if that is right for them as well. `own`: each has
    /// a fifo, and is told of that.
    pub fn for_jobs(&self, own: bool) -> Option<String> {
        match self.server {
            _ if own => Some(String::new()),
            // Jobs have no descriptors of ours: what is named would be closed, or another file.
            Some(Server::Pipe { .. }) => Some(self.with(None)),
            Some(Server::Fifo(_)) | None => None,
        }
    }

    /// The same with another jobserver, or none: `fifo` with so many places, the first of which is the job's own.
    pub fn with(&self, fifo: Option<(&Path, u32)>) -> String {
        let (letters, rest) = self.rest.split_at(usize::from(self.has_letters));
        let told = fifo.map(|(path, places)| format!("-j{places} --jobserver-auth=fifo:{}", path.display()));
        let words: Vec<&str> = letters
            .iter()
            .map(String::as_str)
            .chain(told.as_deref())
            .chain(rest.iter().map(String::as_str))
            .collect();
        let text = words.join(" ");
        // As make writes it where there are no letters.
        if letters.is_empty() && !text.is_empty() { format!(" {text}") } else { text }
    }
}

fn auth(word: &str) -> Option<&str> {
    // The second was its name before make 4.2.
    word.strip_prefix("--jobserver-auth=").or_else(|| word.strip_prefix("--jobserver-fds="))
}

/// Of what make says: a path, or two descriptors. Negative ones: the jobserver is not for us.
fn server(auth: &str) -> Option<Server> {
    if let Some(path) = auth.strip_prefix("fifo:") {
        return (!path.is_empty()).then(|| Server::Fifo(path.into()));
    }
    let (read, write) = auth.split_once(',')?;
    let fd = |text: &str| text.parse::<RawFd>().ok().filter(|fd| *fd >= 0);
    Some(Server::Pipe { read: fd(read)?, write: fd(write)? })
}

/// `-j4`, and what it is without a number.
fn is_jobs(word: &str) -> bool {
    word.strip_prefix("-j").is_some_and(|number| number.chars().all(|digit| digit.is_ascii_digit()))
        || word.strip_prefix("--jobs").is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_of(text: &str) -> Option<Server> {
        Flags::parse(Some(text)).server
    }

    #[test]
    fn a_jobserver_is_found_in_both_styles_and_the_last_one_counts() {
        let fifo = |path: &str| Some(Server::Fifo(path.into()));
        assert_eq!(server_of(" -j4 --jobserver-auth=fifo:/tmp/GMfifo7"), fifo("/tmp/GMfifo7"));
        let pipe = Some(Server::Pipe { read: 3, write: 4 });
        assert_eq!(server_of("kw -j4 --jobserver-auth=3,4 -- A=1"), pipe);
        assert_eq!(server_of(" --jobserver-fds=3,4 -j"), pipe);
        assert_eq!(server_of(" --jobserver-auth=3,4 --jobserver-auth=fifo:/f"), fifo("/f"));
    }

    #[test]
    fn what_is_none_is_none() {
        for text in [
            "",
            "k",
            "-j4",
            " --jobserver-auth=-2,-2",
            " --jobserver-auth=x",
            " --jobserver-auth=fifo:",
            " --jobserver-auth=3",
            " --jobserver-auth=3,4 --jobserver-auth=-2,-2",
            " -- A=--jobserver-auth=3,4",
            " -- --jobserver-auth=3,4",
        ] {
            assert_eq!(server_of(text), None, "{text:?}");
        }
        assert_eq!(Flags::parse(None).with(None), "");
    }

    #[test]
    fn a_dry_run_is_one_only_in_the_first_word() {
        let dry = |text| Flags::parse(Some(text)).is_dry_run;
        assert!(dry("n") && dry("kn -j4"));
        assert!(
            !dry(" n") && !dry("-n") && !dry("k --no-print-directory") && !dry("k -- n=1") && !dry("n=1")
        );
    }

    #[test]
    fn all_else_that_was_said_stays() {
        let flags = Flags::parse(Some("ks -j4 --jobserver-auth=3,4 --output-sync -- A=-j2"));
        assert_eq!(flags.with(None), "ks --output-sync -- A=-j2");
        let fifo = Path::new("/x/f");
        assert_eq!(flags.with(Some((fifo, 8))), "ks -j8 --jobserver-auth=fifo:/x/f --output-sync -- A=-j2");
        assert_eq!(Flags::parse(None).with(Some((fifo, 8))), " -j8 --jobserver-auth=fifo:/x/f");
        let again = Flags::parse(Some(&flags.with(Some((fifo, 8)))));
        assert_eq!((again.server, again.has_letters), (Some(Server::Fifo(fifo.into())), true));
    }
}
