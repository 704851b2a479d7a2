//! Which jobs are run: nextest's filtersets, for what both know.
//!
//! - [`parse`]: the expression, or the place in it that is none
//! - [`matcher`]: the names in it
//!
//! Pure. What is asked of a binary before its tests are listed may be answered by the expression alone (`binary(x)`), and then
//! it need not be asked for them: so there are three answers, and `None` means that it depends on the test.

pub mod matcher;
pub mod parse;

use std::str::FromStr;

use matcher::Matcher;
pub use parse::FilterError;

/// An expression such as `binary(cli) & test(~flatpak)`.
#[derive(Debug, Clone)]
pub struct Filter(Expression);

#[derive(Debug, Clone)]
enum Expression {
    All,
    None,
    Test(Matcher),
    Binary(Matcher),
    BinaryId(Matcher),
    Package(Matcher),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
}

/// What an expression is asked about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// The package, where there are packages.
    pub package: Option<&'a str>,
    /// The test binary or file.
    pub binary: &'a str,
    /// The same, unique in a workspace.
    pub binary_id: &'a str,
    /// The test; `None`: some test of the binary, not known yet.
    pub test: Option<&'a str>,
}

impl Filter {
    /// Whether it is meant; `None` if that depends on the test.
    pub fn of(&self, subject: Subject<'_>) -> Option<bool> {
        self.0.of(subject)
    }
}

impl Expression {
    fn of(&self, subject: Subject<'_>) -> Option<bool> {
        match self {
            Expression::All => Some(true),
            Expression::None => Some(false),
            Expression::Test(name) => subject.test.map(|test| name.fits(test)),
            Expression::Binary(name) => Some(name.fits(subject.binary)),
            Expression::BinaryId(name) => Some(name.fits(subject.binary_id)),
            Expression::Package(name) => Some(subject.package.is_some_and(|package| name.fits(package))),
            Expression::Not(inner) => inner.of(subject).map(|held| !held),
            Expression::And(one, other) => match (one.of(subject), other.of(subject)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Expression::Or(one, other) => match (one.of(subject), other.of(subject)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

/// Several are a union, as nextest's are; none of them means all.
pub fn any(filters: &[Filter], subject: Subject<'_>) -> Option<bool> {
    if filters.is_empty() {
        return Some(true);
    }
    let mut answer = Some(false);
    for filter in filters {
        match filter.of(subject) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => answer = None,
        }
    }
    answer
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Filter, FilterError> {
        parse::parse(text).map(Filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expression: &str, test: Option<&str>) -> Option<bool> {
        let subject = Subject { package: Some("tool"), binary: "cli", binary_id: "tool::cli", test };
        expression.parse::<Filter>().unwrap_or_else(|error| panic!("{error}")).of(subject)
    }

    #[test]
    fn words_mean_what_they_mean_to_nextest() {
        for (expression, wanted) in [
            ("all()", true),
            ("none()", false),
            ("test(lat)", true),
            ("test(=flat)", false),
            ("test(=flat::pak)", true),
            ("test(~pak)", true),
            ("test(#flat::*)", true),
            ("test(#flat)", false),
            ("test(/^flat.*k$/)", true),
            (r"test(/a\/b|pak/)", true),
            ("binary(cli)", true),
            ("binary(cl)", false),
            ("binary(c*)", true),
            ("binary(~cl)", true),
            ("binary_id(tool::*)", true),
            ("package(t{oo\\,aa}l)", true),
            ("package(=to)", false),
            ("binary(cli) & test(~pak)", true),
            ("binary(cli) and not test(~pak)", false),
            ("all() - test(pak)", false),
            // From left to right, and `&` before `|`.
            ("all() | none() & none()", true),
            ("none() & none() or all()", true),
            ("all() - all() - all()", false),
            ("!(none() + none())", true),
            ("not all() | all()", true),
            ("test(x\\)) | test(\\u{66}lat)", true),
            ("  test(\n flat)\n&\r\nall() ", true),
        ] {
            assert_eq!(of(expression, Some("flat::pak")), Some(wanted), "{expression}");
        }
    }

    #[test]
    fn a_binary_is_asked_for_its_tests_only_if_they_matter() {
        for (expression, wanted) in [
            ("binary(cli)", Some(true)),
            ("binary(other) & test(x)", Some(false)),
            ("binary(cli) | test(x)", Some(true)),
            ("binary(cli) & test(x)", None),
            ("not test(x)", None),
            ("package(other) | test(x)", None),
        ] {
            assert_eq!(of(expression, None), wanted, "{expression}");
        }
        assert_eq!(any(&[], Subject::default()), Some(true));
    }
}
