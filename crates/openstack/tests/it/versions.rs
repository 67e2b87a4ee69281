use openstack::{Error, Microversion, Service};
use serde_json::{Value, json};

use crate::fake::{Fake, Reply};

#[tokio::test]
async fn each_request_names_the_pinned_version_of_its_service_or_its_own() {
    let fake = Fake::start(|_| Reply::Json(200, json!({}))).await;
    let mut config = fake.config();
    config.microversions.insert(Service::BlockStorage, Microversion::new(3, 60));
    let session = openstack::Session::new(config).unwrap();
    for service in [Service::Compute, Service::BlockStorage, Service::Network] {
        session.get(service, "/x").json::<Value>().await.unwrap();
    }
    session.get(Service::Compute, "/x").microversion(Microversion::new(2, 90)).json::<Value>().await.unwrap();
    let versions: Vec<_> =
        fake.seen().iter().map(|seen| seen.headers.get("openstack-api-version").cloned()).collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(versions, [some("compute 2.79"), some("volume 3.60"), None, some("compute 2.90")]);
    assert_eq!(fake.seen()[3].headers["x-openstack-nova-api-version"], "2.90");
}

#[tokio::test]
async fn a_service_that_is_too_old_is_named_with_what_is_wanted_and_what_it_offers() {
    let nova = "Version 2.79 is not supported by the API. Minimum is 2.1 and maximum is 2.60.";
    let fake =
        Fake::start(move |_| Reply::Json(406, json!({ "computeFault": { "code": 406, "message": nova } })))
            .await;
    let error = fake.session().get(Service::Compute, "/x").json::<Value>().await.unwrap_err();
    let Error::VersionUnsupported { service, wanted, offered, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (*service, *wanted, offered.as_str()),
        (Service::Compute, Microversion::new(2, 79), "2.1 to 2.60")
    );
    assert_eq!(error.failure().code, "OPENSTACK_VERSION_UNSUPPORTED");
}
