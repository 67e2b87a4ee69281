//! As much of Rust's grammar as the checks need: what is text, what is comment, what is code.

/// A string literal in code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Literal {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) text: String,
    /// Where in [`Source::code`] it stood.
    pub(crate) at: usize,
}

/// A file of Rust, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// The code without comments; literals are `""`, white space is one space.
    pub(crate) code: String,
    pub(crate) literals: Vec<Literal>,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let mut scan = Scan { rest: text, line: 1, source: Self::default() };
        while scan.step() {}
        scan.source
    }

    /// The code before a literal, without spaces: at most the last `length` bytes of it.
    pub(crate) fn before(&self, literal: &Literal, length: usize) -> String {
        let code: String = self.code[..literal.at].chars().filter(|c| *c != ' ').collect();
        let cut =
            code.char_indices().rev().map(|(at, _)| at).find(|at| code.len() - at >= length).unwrap_or(0);
        code[cut..].to_owned()
    }

    /// The name of the function in which the literal stands.
    pub(crate) fn function_of(&self, literal: &Literal) -> &str {
        let before = &self.code[..literal.at];
        let name = before.rfind("fn ").map_or("", |at| &before[at + 3..]);
        name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
    }

    /// Where the module of tests begins; the end when there is none.
    pub(crate) fn tests_at(&self) -> usize {
        self.code.find("#[cfg(test)] mod").unwrap_or(self.code.len())
    }
}

struct Scan<'a> {
    rest: &'a str,
    line: usize,
    source: Source,
}

impl Scan<'_> {
    /// Takes one comment, literal or character; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        let code = &self.source.code;
        let in_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if self.rest.starts_with("//") {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.take(block_comment_length(self.rest));
        } else if let Some((open, hashes)) = (!in_word).then(|| raw_string_opening(self.rest)).flatten() {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = self.rest[open..].find(&end).unwrap_or(self.rest.len() - open);
            self.literal(open, length, end.len());
        } else if first == '"' {
            let length = string_length(&self.rest[1..]);
            self.literal(1, length, 1);
        } else if first == '\'' {
            let length = char_length(self.rest);
            self.take(length);
            self.source.code.push('\'');
        } else {
            self.take(first.len_utf8());
            match first {
                c if c.is_whitespace() && self.source.code.ends_with(' ') => {}
                c if c.is_whitespace() => self.source.code.push(' '),
                c => self.source.code.push(c),
            }
        }
        true
    }

    fn literal(&mut self, open: usize, length: usize, close: usize) {
        let text = self.rest[open..open + length].to_owned();
        self.source.literals.push(Literal { line: self.line, text, at: self.source.code.len() });
        self.source.code.push_str("\"\"");
        self.take((open + length + close).min(self.rest.len()));
    }

    fn take(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

/// Length of a comment with what is nested in it.
fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of `r"`, `r#"`, `br##"` and so on, and the number of its hashes.
fn raw_string_opening(text: &str) -> Option<(usize, usize)> {
    let after =
        text.strip_prefix("br").or_else(|| text.strip_prefix("cr")).or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then(|| (text.len() - after.len() + hashes + 1, hashes))
}

/// Length of a string up to its closing quote.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character literal, or of the quote of a lifetime.
fn char_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            text[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 3)
        }
        Some((_, _)) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_literals(text: &str, expected: &[(usize, &str)]) {
        let source = Source::parse(text);
        let found: Vec<_> = source.literals.iter().map(|l| (l.line, l.text.as_str())).collect();
        assert_eq!(found, expected, "{}", source.code);
    }

    #[test]
    fn literals_are_told_from_comments_characters_and_lifetimes() {
        check_literals("a(\"x\") // \"y\"\n/* \"z /* \" */ */ b(\"w\")", &[(1, "x"), (2, "w")]);
        check_literals("let q = '\"'; let e = '\\''; f::<'a>(\"x\")", &[(1, "x")]);
        check_literals("r#\"a \" b\"#; br\"c\"; var\"d\"", &[(1, "a \" b"), (1, "c"), (1, "d")]);
        check_literals("\"a \\\" b\\\\\"; \"ü\n\"; \"c\"", &[(1, "a \\\" b\\\\"), (1, "ü\n"), (2, "c")]);
    }

    #[test]
    fn a_literal_knows_its_function_and_what_stands_before_it() {
        let source = Source::parse("fn a() { b(\n   \"x\",\n \"y\") } fn code() { \"z\" }");
        assert_eq!(source.before(&source.literals[0], 20), "fna(){b(");
        assert_eq!(source.before(&source.literals[1], 3), "\"\",");
        assert_eq!(source.function_of(&source.literals[0]), "a");
        assert_eq!(source.function_of(&source.literals[2]), "code");
    }
}
