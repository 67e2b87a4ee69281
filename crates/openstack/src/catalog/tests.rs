use serde_json::json;

use super::*;

fn make_catalog() -> Catalog {
    let endpoint = |interface: &str, region: &str, url: &str| json!({ "interface": interface, "region": region, "url": url });
    let catalog = json!([
        { "type": "volume", "endpoints": [endpoint("public", "a", "http://old:8776/v1/p1")] },
        { "type": "volumev3", "endpoints": [
            endpoint("public", "a", "http://a:8776/v3/p1"), endpoint("internal", "a", "http://in:8776/v3/p1"),
            endpoint("public", "b", "http://b:8776/v3/p1"),
        ]},
        { "type": "block-storage", "endpoints": [] },
        { "type": "network", "endpoints": [endpoint("public", "a", "http://n:9696/")] },
        { "type": "placement", "endpoints": [endpoint("public", "a", "http://c/placement")] },
        { "type": "identity", "endpoints": [endpoint("public", "a", "http://c/identity")] },
        { "type": "image", "endpoints": [endpoint("public", "a", "not an address")] },
    ]);
    serde_json::from_value(catalog).unwrap()
}

#[track_caller]
fn check(service: Service, interface: Interface, region: &str, expected: &str) {
    let found = make_catalog().endpoint(service, interface, Some(region)).unwrap();
    assert_eq!(found.as_str(), expected);
}

#[test]
fn a_service_is_found_by_any_of_its_types_in_its_region_and_interface() {
    check(Service::BlockStorage, Interface::Public, "b", "http://b:8776/v3/p1");
    check(Service::BlockStorage, Interface::Internal, "a", "http://in:8776/v3/p1");
}

#[test]
fn a_root_without_a_version_gets_the_one_that_we_speak() {
    check(Service::Network, Interface::Public, "a", "http://n:9696/v2.0");
    check(Service::Identity, Interface::Public, "a", "http://c/identity/v3");
    check(Service::Placement, Interface::Public, "a", "http://c/placement");
    for version in ["v2.1", "v2.1/p1", "v2"] {
        let url = format!("http://n:8774/{version}");
        assert_eq!(root(Service::Compute, &url).unwrap().as_str(), url);
    }
    assert_eq!(
        root(Service::Compute, "http://vpn.example/nova?x=1#y").unwrap().as_str(),
        "http://vpn.example/nova/v2.1"
    );
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let catalog = make_catalog();
    let error = catalog.endpoint(Service::BlockStorage, Interface::Internal, Some("b")).unwrap_err();
    let expected = "no internal endpoint of service block-storage in region b; it has: public in a, internal in a, public in b";
    assert!(error.to_string().contains(expected), "{error}");
    let error = catalog.endpoint(Service::BlockStorage, Interface::Public, None).unwrap_err();
    assert!(error.to_string().contains("in the regions a, b: set the region's name"), "{error}");
    let error = catalog.endpoint(Service::KeyManager, Interface::Public, None).unwrap_err();
    assert!(error.to_string().contains("it has: none at all"), "{error}");
    let error = catalog.endpoint(Service::Image, Interface::Public, None).unwrap_err();
    assert_eq!(error.failure().code, "OPENSTACK_ENDPOINT_MISSING");
}
