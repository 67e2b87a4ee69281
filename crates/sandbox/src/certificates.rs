//! A server's certificate on loopback, and the authority that vouches for it.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Each of the three in PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// What clients are told to believe.
    pub authority: String,
    /// Of the server at 127.0.0.1.
    pub server: String,
    pub server_key: String,
}

impl Certificates {
    /// Where [`Certificates::write`] puts them.
    pub const AUTHORITY: &str = "authority.pem";
    pub const SERVER: &str = "server.pem";
    pub const SERVER_KEY: &str = "server.key";

    /// Draws keys and signs.
    ///
    /// Errors: those of the library.
    pub fn make() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
        Ok(Self { authority: authority.pem(), server: server.pem(), server_key: key.serialize_pem() })
    }

    /// Writes the three files into a folder.
    ///
    /// Errors: those of the file system.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        std::fs::write(dir.join(Self::AUTHORITY), &self.authority)?;
        std::fs::write(dir.join(Self::SERVER), &self.server)?;
        Ok(std::fs::write(dir.join(Self::SERVER_KEY), &self.server_key)?)
    }
}
