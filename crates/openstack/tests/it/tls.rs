use std::sync::Arc;

use openstack::{Service, Session};
use sandbox::Certificates;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::fake::{Fake, Reply};

/// A server's TLS, and the certificate of the authority that vouches for it.
fn make_tls() -> (TlsAcceptor, String) {
    let Certificates { authority, server, server_key } = Certificates::make().unwrap();
    let certificate = CertificateDer::from_pem_slice(server.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(server_key.as_bytes()).unwrap();
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), authority)
}

#[tokio::test]
async fn a_certificate_is_believed_when_its_authority_is_named_and_only_then() {
    let (tls, authority) = make_tls();
    let fake = Fake::start_with(Some(tls), |_| Reply::Json(200, json!({ "id": 7 }))).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, authority).unwrap();
    let mut config = fake.config();
    config.ca_file = Some(path.clone());
    let session = Session::new(config.clone()).unwrap();
    let answer: Value = session.get(Service::Compute, "/servers/7").json().await.unwrap();
    assert_eq!(answer["id"], 7);

    let failure = fake.session().token().await.unwrap_err().failure();
    assert_eq!(failure.code, "OPENSTACK_UNREACHABLE");
    assert!(failure.message.contains("certificate"), "{failure}");
    assert_eq!(fake.logins(), 1, "no password went to whom we do not believe");

    std::fs::write(&path, make_tls().1).unwrap();
    assert!(Session::new(config.clone()).unwrap().token().await.is_err(), "another authority");
    std::fs::write(&path, "no certificate").unwrap();
    let error = Session::new(config.clone()).unwrap_err().to_string();
    assert!(error.contains("it holds no certificate in PEM"), "{error}");
    config.ca_file = Some(dir.path().join("missing.pem"));
    let error = Session::new(config).unwrap_err().to_string();
    assert!(error.contains("missing.pem"), "{error}");
}
