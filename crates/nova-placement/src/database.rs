//! One database, read-only: few connections, each wait bounded.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tokio::time::timeout;

use crate::address::DatabaseUrl;
use crate::error::Error;

/// A look-up takes about a millisecond: four serve thousands a second, and a site has as many dmapi as it likes.
const CONNECTIONS_MAX: u32 = 4;
/// For a connection: a new one takes a round trip or three.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// For an answer: each statement reads one row by a unique key.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Proxies and servers close what is idle, mostly after minutes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// As whom we look.
#[derive(Debug, Clone)]
pub struct Account {
    pub user: String,
    pub password: SecretString,
    /// Certificates of whoever signs the servers'; with it the servers' are required and verified.
    pub ca_file: Option<PathBuf>,
}

/// A database of OpenStack's. Connects when it is first asked.
#[derive(Debug, Clone)]
pub(crate) struct ReadOnly {
    /// For errors: what it is and where.
    name: String,
    pool: MySqlPool,
}

impl ReadOnly {
    /// `what` says which it is, for errors.
    pub(crate) fn new(what: &str, url: &DatabaseUrl, account: &Account) -> Self {
        let mut options = MySqlConnectOptions::new()
            .host(&url.host)
            .port(url.port)
            .database(&url.database)
            .username(&account.user)
            .password(account.password.expose_secret())
            .disable_statement_logging();
        if let Some(ca_file) = &account.ca_file {
            options = options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca(ca_file);
        }
        let pool = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // Its user has no right to write either. Two locks, since the rights are somebody else's to give.
                    connection.execute("SET SESSION TRANSACTION READ ONLY").await.map(drop)
                })
            })
            .connect_lazy_with(options);
        Self { name: format!("{what} ({url})"), pool }
    }

    /// The row that `sql` finds by `key`, if there is one.
    pub(crate) async fn find(&self, sql: &'static str, key: &str) -> Result<Option<MySqlRow>, Error> {
        let mut connection =
            self.pool.acquire().await.map_err(|error| Error::from_sqlx(&self.name, &error))?;
        let find = sqlx::query(sql).bind(key).fetch_optional(&mut *connection);
        match timeout(ANSWER_TIMEOUT, find).await {
            Ok(found) => found.map_err(|error| self.error(&error)),
            Err(_) => {
                // It may answer later, and must not answer somebody else.
                drop(connection.detach());
                let reason = format!("it is connected, but said nothing for {ANSWER_TIMEOUT:?}");
                Err(Error::Down { database: self.name.clone(), reason })
            }
        }
    }

    /// The rows of a statement that is made of our own words only.
    pub(crate) async fn rows(&self, sql: String) -> Result<Vec<MySqlRow>, Error> {
        let ask = async {
            let mut connection = self.pool.acquire().await?;
            sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await
        };
        match timeout(ANSWER_TIMEOUT, ask).await {
            Ok(rows) => rows.map_err(|error| self.error(&error)),
            Err(_) => {
                let reason = format!("it said nothing for {ANSWER_TIMEOUT:?}");
                Err(Error::Down { database: self.name.clone(), reason })
            }
        }
    }

    /// What it is and where, for people.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What went wrong with it.
    pub(crate) fn error(&self, error: &sqlx::Error) -> Error {
        Error::from_sqlx(&self.name, error)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sandbox::{Certificates, MariaDb};

    use super::*;

    /// A database of a server, as its owner.
    async fn open(server: &MariaDb, ca_file: Option<&Path>) -> (ReadOnly, String) {
        let url = url::Url::parse(&server.create_database().await.unwrap()).unwrap();
        let database = url.path().trim_start_matches('/').to_owned();
        let account = Account {
            user: url.username().to_owned(),
            password: url.password().unwrap().to_owned().into(),
            ca_file: ca_file.map(Path::to_owned),
        };
        let port = url.port().unwrap();
        let url = DatabaseUrl { host: "127.0.0.1".to_owned(), port, database: database.clone() };
        (ReadOnly::new("a database", &url, &account), database)
    }

    #[tokio::test]
    async fn a_session_writes_nothing_even_where_its_user_may() {
        let server = MariaDb::shared().await.unwrap();
        let (read_only, database) = open(&server, None).await;
        server.run(&format!("CREATE TABLE {database}.t (a int)")).await.unwrap();
        let refused = read_only.pool.execute("INSERT INTO t VALUES (1)").await.unwrap_err().to_string();
        assert!(refused.contains("READ ONLY"), "{refused}");
        let row = read_only.find("SELECT a FROM t WHERE a = ?", "1").await.unwrap();
        assert!(row.is_none());
    }

    #[tokio::test]
    async fn with_an_authority_named_only_a_server_that_it_vouches_for_is_asked() {
        const CIPHER: &str =
            "SELECT variable_value FROM information_schema.session_status WHERE variable_name = ?";
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Certificates::make().unwrap().write(dir.path()).unwrap();
        Certificates::make().unwrap().write(other.path()).unwrap();
        let server = MariaDb::start_in(dir.path()).await.unwrap();

        let (believed, _) = open(&server, Some(&dir.path().join(Certificates::AUTHORITY))).await;
        let row = believed.find(CIPHER, "Ssl_cipher").await.unwrap().unwrap();
        let cipher: String = sqlx::Row::get(&row, 0);
        assert!(!cipher.is_empty(), "the connection is encrypted");

        let (doubted, _) = open(&server, Some(&other.path().join(Certificates::AUTHORITY))).await;
        let refused = doubted.find(CIPHER, "Ssl_cipher").await.unwrap_err().to_string();
        assert!(refused.contains("certificate"), "{refused}");

        let plain = MariaDb::shared().await.unwrap();
        let (unproven, _) = open(&plain, Some(&dir.path().join(Certificates::AUTHORITY))).await;
        let refused = unproven.find(CIPHER, "Ssl_cipher").await.unwrap_err().to_string();
        assert!(refused.contains("TLS"), "{refused}");
    }
}
