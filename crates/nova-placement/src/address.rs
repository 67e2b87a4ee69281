//! URLs of databases: ours without any secret, and those of Nova's cells, of which user and password are never read.

use std::fmt;
use std::str::FromStr;

const PORT: u16 = 3306;

/// A database server and a database in it. Holds no user and no password.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatabaseUrl {
    pub host: String,
    pub port: u16,
    pub database: String,
}

/// A text that names no database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; expected mysql://HOST[:PORT]/DATABASE, without user and password")]
pub struct InvalidUrl {
    reason: String,
}

/// What `cell_mappings.database_connection` holds, but for user and password: `SCHEME` and `HOST:PORT/DATABASE?QUERY`,
/// either of which may hold variables such as `{hostname}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellUrl {
    pub scheme: String,
    pub place: String,
}

impl FromStr for DatabaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = |reason: &str| InvalidUrl { reason: reason.to_owned() };
        // The parser's own error may repeat the text, and with it a password.
        let url = url::Url::parse(text).map_err(|_| invalid("it cannot be parsed"))?;
        if !is_mysql(url.scheme()) {
            return Err(invalid("it does not begin with mysql://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("it holds a user or a password: they have settings of their own"));
        }
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid("it names no host"))?;
        let database = url.path().trim_start_matches('/');
        let is_name = !database.is_empty() && database.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(invalid("it names no database (letters, digits and underscores)"));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: url.port().unwrap_or(PORT), database: database.to_owned() })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.database)
    }
}

impl CellUrl {
    /// The database that it names. Variables stand for the parts of `template`, as in Nova for those of its
    /// `[database] connection`.
    ///
    /// Errors: it is no MySQL, or a variable stands for nothing.
    pub fn resolve(&self, template: &DatabaseUrl) -> Result<DatabaseUrl, InvalidUrl> {
        let scheme = fill(&self.scheme, template)?;
        let place = fill(&self.place, template)?;
        // Options after the question mark are those of Nova's own driver.
        let place = place.split('?').next().unwrap_or_default();
        format!("{scheme}://{place}").parse()
    }
}

fn is_mysql(scheme: &str) -> bool {
    ["mysql", "mariadb"].contains(&scheme.split('+').next().unwrap_or_default())
}

fn fill(text: &str, template: &DatabaseUrl) -> Result<String, InvalidUrl> {
    let port = template.port.to_string();
    let variables = [
        ("{scheme}", "mysql"),
        ("{hostname}", template.host.as_str()),
        ("{port}", port.as_str()),
        ("{path}", template.database.as_str()),
        ("{query}", ""),
        ("{fragment}", ""),
    ];
    let filled = variables.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    match filled.split_once('{') {
        Some((_, rest)) => {
            let name = rest.split('}').next().unwrap_or_default();
            Err(InvalidUrl { reason: format!("nothing is known of the variable {{{name}}}") })
        }
        None => Ok(filled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> DatabaseUrl {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check_refused(text: &str, because: &str) {
        let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
        assert!(error.contains(because), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[track_caller]
    fn check_cell(scheme: &str, place: &str, expected: &str) {
        let cell = CellUrl { scheme: scheme.to_owned(), place: place.to_owned() };
        let resolved = cell.resolve(&url("mysql://main.example:3307/nova_api")).unwrap();
        assert_eq!(resolved.to_string(), expected);
    }

    #[test]
    fn a_url_is_a_server_and_a_database() {
        assert_eq!(url("mysql://db.example/nova_api").to_string(), "db.example:3306/nova_api");
        assert_eq!(url("mysql+pymysql://10.0.0.1:13306/nova_cell0?charset=utf8").port, 13306);
        assert_eq!(url("mariadb://[::1]/nova").host, "::1");
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_being_repeated() {
        check_refused("postgresql://db/nova", "mysql://");
        check_refused("mysql://nova:hunter2@db/nova", "settings of their own");
        check_refused("mysql://db/", "names no database");
        check_refused("mysql://db/nova`;--", "names no database");
        check_refused("mysql://nova:hunter2@[db/nova", "cannot be parsed");
    }

    #[test]
    fn a_cell_is_where_its_url_says_and_variables_are_parts_of_the_template() {
        check_cell(
            "mysql+pymysql",
            "cell-2.example:3306/nova_cell2?charset=utf8",
            "cell-2.example:3306/nova_cell2",
        );
        check_cell("mysql+pymysql", "cell-2.example/nova", "cell-2.example:3306/nova");
        check_cell("{scheme}", "{hostname}:{port}/nova_cell0?{query}", "main.example:3307/nova_cell0");
        check_cell("{scheme}", "{hostname}/{path}?{query}#{fragment}", "main.example:3306/nova_api");
        check_cell("mysql", "db.example/nova?ssl_ca=/etc/ssl/{hostname}.pem", "db.example:3306/nova");
    }

    #[test]
    fn a_cell_that_cannot_be_reached_is_said() {
        let main = url("mysql://main.example/nova_api");
        let refused = |scheme: &str, place: &str| {
            let cell = CellUrl { scheme: scheme.to_owned(), place: place.to_owned() };
            cell.resolve(&main).unwrap_err().to_string()
        };
        assert!(refused("mysql", "{hostname2}/nova").contains("{hostname2}"));
        assert!(refused("postgresql", "db/nova").contains("mysql://"));
    }
}
