//! Where this process runs.

use model::HostName;

/// The name of this machine, as it calls itself; letters that no host name has become `-`.
#[must_use]
pub fn own_host() -> HostName {
    let uname = rustix::system::uname();
    host_of(&uname.nodename().to_string_lossy())
}

fn host_of(nodename: &str) -> HostName {
    let allowed = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    let name: String = nodename.chars().map(allowed).skip_while(|letter| !letter.is_alphanumeric()).collect();
    let name: String = name.chars().take(128).collect();
    name.parse().unwrap_or_else(|_| "localhost".parse().expect("it is a valid host name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_a_name_that_can_be_shown() {
        for (nodename, expected) in [
            ("node-1.rack", "node-1.rack"),
            ("my_pc", "my-pc"),
            ("-x", "x"),
            ("", "localhost"),
            ("(none)", "none-"),
        ] {
            assert_eq!(host_of(nodename).as_str(), expected);
        }
        assert!(!own_host().as_str().is_empty());
    }
}
