//! The words of a filter, from left to right, one letter ahead.
//!
//! ```text
//! either    = both { ("|" | "+" | "or") both }
//! both      = one { ("&" | "and" | "-") one }
//! one       = ("not" | "!") one | "(" either ")" | predicate
//! predicate = ("all" | "none") "()" | ("test" | "binary" | "binary_id" | "package") "(" matcher ")"
//! matcher   = "=" text | "~" text | "#" text | "/" regex "/" | text
//! ```

use std::fmt;

use super::Expression;
use super::matcher::Matcher;
use crate::model::nearest::nearest;
use crate::model::text::harmless;

/// So deep nobody writes by hand, and the parser's stack holds it.
const DEEPEST: u32 = 100;

/// An expression with more words than this is a mistake: evaluating it goes as deep as it is long.
const LARGEST: u32 = 1000;

const PREDICATES: [&str; 6] = ["test", "binary", "binary_id", "package", "all", "none"];

/// What nextest has besides: there is nothing here that it could mean.
const NEXTESTS_OWN: [&str; 6] = ["deps", "rdeps", "kind", "platform", "group", "default"];

/// An expression that is none, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FilterError {
    expression: String,
    /// In bytes.
    at: usize,
    message: String,
}

/// The expression with a mark below the place.
impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.expression[..self.at].chars().count();
        write!(f, "{}\n  {}\n  {:before$}^", self.message, harmless(&self.expression), "")
    }
}

pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    let mut parser = Parser { text, at: 0, depth: 0, words: 0 };
    let found = parser.either()?;
    parser.space();
    match parser.rest().chars().next() {
        None => Ok(found),
        Some(')') => Err(parser.wrong("this parenthesis closes none")),
        Some(_) => Err(parser.wrong("expected an operator: & (and), | (or), - (and not)")),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes, at a letter's begin.
    at: usize,
    depth: u32,
    words: u32,
}

impl<'a> Parser<'a> {
    fn either(&mut self) -> Result<Expression, FilterError> {
        let mut found = self.both()?;
        while self.operator(&["|", "+"], "or")? {
            found = Expression::Or(Box::new(found), Box::new(self.both()?));
        }
        Ok(found)
    }

    fn both(&mut self) -> Result<Expression, FilterError> {
        let mut found = self.one()?;
        loop {
            if self.operator(&["&"], "and")? {
                found = Expression::And(Box::new(found), Box::new(self.one()?));
            } else if self.operator(&["-"], "")? {
                found = Expression::And(Box::new(found), Box::new(Expression::Not(Box::new(self.one()?))));
            } else {
                return Ok(found);
            }
        }
    }

    fn one(&mut self) -> Result<Expression, FilterError> {
        self.space();
        self.words += 1;
        if self.depth == DEEPEST {
            return Err(self.wrong(&format!("this is nested more than {DEEPEST} deep")));
        }
        if self.words > LARGEST {
            return Err(self.wrong(&format!("there are more than {LARGEST} predicates")));
        }
        self.depth += 1;
        let found = if self.takes("!") || self.takes_word("not") {
            Expression::Not(Box::new(self.one()?))
        } else if self.rest().starts_with('(') {
            let open = self.at;
            self.at += 1;
            let inner = self.either()?;
            self.closed(open)?;
            inner
        } else {
            self.predicate()?
        };
        self.depth -= 1;
        Ok(found)
    }

    fn predicate(&mut self) -> Result<Expression, FilterError> {
        let begin = self.at;
        let word = self.word();
        if word.is_empty() {
            return Err(self.wrong("expected a predicate, such as test(name), binary(name) or package(name)"));
        }
        if !PREDICATES.contains(&word) {
            let hint = match word {
                word if NEXTESTS_OWN.contains(&word) => " (nextest has it, sandtest has not)".to_owned(),
                word => nearest(word, PREDICATES)
                    .map(|name| format!("; did you mean {name}()?"))
                    .unwrap_or_default(),
            };
            let message = format!("{word} is no predicate{hint}; expected one of {}", PREDICATES.join(", "));
            return Err(self.wrong_at(begin, &message));
        }
        self.at += word.len();
        self.space();
        let open = self.at;
        if !self.takes("(") {
            return Err(self.wrong(&format!("expected an opening parenthesis behind {word}")));
        }
        self.space();
        let made = match word {
            "all" => Expression::All,
            "none" => Expression::None,
            "test" => Expression::Test(self.matcher(|text| Ok(Matcher::Contains(text)))?),
            "binary" => Expression::Binary(self.matcher(|text| Matcher::glob(&text))?),
            "binary_id" => Expression::BinaryId(self.matcher(|text| Matcher::glob(&text))?),
            _ => Expression::Package(self.matcher(|text| Matcher::glob(&text))?),
        };
        self.closed(open)?;
        Ok(made)
    }

    /// `plain`: what a name without a mark means.
    fn matcher(&mut self, plain: fn(String) -> Result<Matcher, String>) -> Result<Matcher, FilterError> {
        let begin = self.at;
        let made = if self.takes("/") {
            Matcher::regex(&self.regex(begin)?)
        } else if self.takes("=") {
            Ok(Matcher::Equal(self.name()?))
        } else if self.takes("~") {
            Ok(Matcher::Contains(self.name()?))
        } else if self.takes("#") {
            Matcher::glob(&self.name()?)
        } else {
            plain(self.name()?)
        };
        made.map_err(|message| self.wrong_at(begin, &message))
    }

    /// Up to the closing parenthesis, escapes resolved.
    fn name(&mut self) -> Result<String, FilterError> {
        let mut name = String::new();
        while let Some(letter) = self.rest().chars().next() {
            match letter {
                ')' => break,
                ',' => return Err(self.wrong("expected one name; a comma that belongs to it is written \\,")),
                '\\' => name.push(self.escape()?),
                letter => {
                    name.push(letter);
                    self.at += letter.len_utf8();
                }
            }
        }
        if name.is_empty() {
            return Err(self.wrong("expected a name"));
        }
        Ok(name)
    }

    fn escape(&mut self) -> Result<char, FilterError> {
        let begin = self.at;
        let invalid = |parser: &Self| {
            parser.wrong_at(begin, "no escape; there are \\n \\r \\t \\\\ \\/ \\) \\, and \\u{7fff}")
        };
        self.at += 1;
        let letter = self.rest().chars().next().ok_or_else(|| invalid(self))?;
        self.at += letter.len_utf8();
        Ok(match letter {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '\\' | '/' | ')' | ',' => letter,
            'u' => {
                let hex =
                    self.rest().strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(hex, _)| hex);
                let hex = hex
                    .filter(|hex| (1..=6).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit()));
                let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
                self.at += hex.map_or(0, |hex| hex.len() + 2);
                code.ok_or_else(|| invalid(self))?
            }
            _ => return Err(invalid(self)),
        })
    }

    /// Up to the closing slash, which `\/` is not.
    fn regex(&mut self, begin: usize) -> Result<String, FilterError> {
        let mut regex = String::new();
        loop {
            let rest = self.rest();
            let Some(letter) = rest.chars().next() else {
                return Err(self.wrong_at(begin, "this regular expression is not closed with a slash"));
            };
            if letter == '\\' {
                let escaped = rest[1..].chars().next();
                if escaped != Some('/') {
                    regex.push('\\');
                }
                regex.extend(escaped);
                self.at += 1 + escaped.map_or(0, char::len_utf8);
                continue;
            }
            self.at += letter.len_utf8();
            if letter == '/' {
                return Ok(regex);
            }
            regex.push(letter);
        }
    }

    fn closed(&mut self, open: usize) -> Result<(), FilterError> {
        self.space();
        if self.takes(")") {
            return Ok(());
        }
        match self.rest().is_empty() {
            true => Err(self.wrong_at(open, "this parenthesis is not closed")),
            false => Err(self.wrong("expected a closing parenthesis")),
        }
    }

    fn operator(&mut self, signs: &[&str], word: &str) -> Result<bool, FilterError> {
        self.space();
        for sign in signs {
            if self.rest().starts_with(&sign.repeat(2)) && *sign != "-" {
                return Err(self.wrong(&format!("write {sign} once")));
            }
            if self.takes(sign) {
                return Ok(true);
            }
        }
        Ok(!word.is_empty() && self.takes_word(word))
    }

    fn takes(&mut self, sign: &str) -> bool {
        let taken = self.rest().starts_with(sign);
        if taken {
            self.at += sign.len();
        }
        taken
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let taken = self.word() == word;
        if taken {
            self.at += word.len();
        }
        taken
    }

    fn word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn wrong(&self, message: &str) -> FilterError {
        self.wrong_at(self.at, message)
    }

    fn wrong_at(&self, at: usize, message: &str) -> FilterError {
        FilterError { expression: self.text.to_owned(), at, message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_mistake_is_shown() {
        for (text, column, message) in [
            ("", 0, "expected a predicate"),
            ("test(a", 4, "not closed"),
            ("test(a) test(b)", 8, "expected an operator"),
            ("test(a) & ", 10, "expected a predicate"),
            ("(test(a) | test(b)", 0, "not closed"),
            ("test(a))", 7, "closes none"),
            ("tset(a)", 0, "did you mean test()?"),
            ("all() & deps(a)", 8, "nextest has it"),
            ("test()", 5, "expected a name"),
            ("test(a,b)", 6, "one name"),
            ("test(a\\x)", 6, "no escape"),
            ("test(\\u{110000})", 5, "no escape"),
            ("test(\\u{+12})", 5, "no escape"),
            ("test(/a(/)", 5, "no regular expression: unclosed group"),
            ("test(/a)", 5, "not closed with a slash"),
            ("test(/((a{900}){900}){900}/)", 5, "too large"),
            ("binary([a)", 7, "no glob"),
            ("all() && none()", 6, "write & once"),
            ("all(x)", 4, "expected a closing parenthesis"),
            ("test", 4, "opening parenthesis"),
            ("not", 3, "expected a predicate"),
            ("ä", 0, "is no predicate"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(message), "{text}: {error}");
            assert_eq!(error.at, column, "{text}: {error}");
        }
        let shown = parse("test(ä)\n& tset(a)").unwrap_err().to_string();
        assert!(shown.ends_with("\n  test(ä)?& tset(a)\n            ^"), "{shown}");
    }

    #[test]
    fn nothing_is_too_deep_for_the_stack() {
        let deep = |sign: &str| format!("{}all(){}", sign.repeat(50_000), ")".repeat(50_000));
        assert!(parse(&deep("(")).unwrap_err().message.contains("deep"));
        assert!(parse(&deep("!")).unwrap_err().message.contains("deep"));
        assert!(
            parse(&format!("all(){}", "|all()".repeat(50_000))).unwrap_err().message.contains("more than")
        );
        assert!(parse(&format!("all(){}", "|all()".repeat(900))).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            if let Err(error) = parse(&text) {
                let _ = error.to_string();
            }
        }

        #[test]
        fn no_row_of_its_words_makes_it_panic(words in proptest::collection::vec(
            proptest::sample::select(vec!["test(", "binary(", "all()", "none()", ")", "(", "&", "|", "-", "not ", "!", "and ", " or ",
                "=a", "~b", "#*[", "/x/", "/", "\\", "\\)", "\\u{", "}", ",", "\n", "ä"]), 0..20)) {
            if let Err(error) = parse(&words.concat()) {
                let _ = error.to_string();
            }
        }

        #[test]
        fn a_name_can_always_be_written(name in "\\PC+") {
            let escaped: String = name.chars().map(|c| format!("\\u{{{:x}}}", u32::from(c))).collect();
            let Ok(Expression::Test(matcher)) = parse(&format!("test(={escaped})")) else { panic!("{escaped}") };
            proptest::prop_assert!(matcher.fits(&name));
        }
    }
}
