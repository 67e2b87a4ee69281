use secrecy::ExposeSecret as _;

use super::*;
use crate::{Interface, Microversion};

const CLOUDS: &str = r#"
clouds:
  shop:
    region_name: here
    interface: internalURL
    compute_endpoint_override: http://nova.example:8774/v2.1
    auth:
      auth_url: https://keystone.example:5000
      username: alice
      password: 12345
      project_name: acme
      user_domain_name: Staff
      project_domain_id: d1
  credential:
    auth_type: v3applicationcredential
    auth: {auth_url: "http://k/v3", application_credential_id: abc, application_credential_secret: s}
  insecure:
    verify: false
    auth: {auth_url: "http://k/v3", username: a, password: b}
"#;

fn make_environment(dir: &Path, variables: &[(&str, &str)]) -> Environment {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Environment {
        variable: Box::new(move |name| variables.get(name).cloned()),
        working_dir: dir.join("work"),
        system_dir: dir.join("etc"),
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[track_caller]
fn check_auth(variables: &[(&str, &str)], expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let config = find(None, &make_environment(dir.path(), variables)).unwrap();
    assert_eq!(config.auth.to_string(), expected);
}

#[track_caller]
fn check_invalid(variables: &[(&str, &str)], expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let error = find(None, &make_environment(dir.path(), variables)).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn each_kind_of_login_is_told_by_its_variables() {
    let url = ("OS_AUTH_URL", "http://k:5000/v3");
    let password = [url, ("OS_USERNAME", "a"), ("OS_PASSWORD", "b")];
    check_auth(&password, "user a of domain default");
    let with = |more: &[(&'static str, &'static str)]| [&password[..], more].concat();
    check_auth(
        &with(&[("OS_PROJECT_NAME", "p"), ("OS_PROJECT_DOMAIN_NAME", "D")]),
        "user a of domain default for project p of domain D",
    );
    check_auth(
        &with(&[("OS_PROJECT_ID", "p1"), ("OS_PROJECT_NAME", "p")]),
        "user a of domain default for project p1",
    );
    check_auth(&with(&[("OS_TRUST_ID", "t")]), "user a of domain default by trust t");
    check_auth(&with(&[("OS_SYSTEM_SCOPE", "all")]), "user a of domain default for the whole cloud");
    check_auth(&with(&[("OS_DOMAIN_NAME", "D")]), "user a of domain default for domain D");
    check_auth(&with(&[("OS_USER_ID", "u1")]), "user u1");
    check_auth(&[url, ("OS_TOKEN", "x")], "the given token");
    check_auth(
        &[url, ("OS_APPLICATION_CREDENTIAL_ID", "c"), ("OS_APPLICATION_CREDENTIAL_SECRET", "s")],
        "application credential c",
    );
}

#[test]
fn what_is_missing_or_dangerous_is_named() {
    let url = ("OS_AUTH_URL", "http://k:5000/v3");
    check_invalid(&[], "no cloud is named");
    check_invalid(&[url], "username is missing (OS_USERNAME)");
    check_invalid(&[url, ("OS_USERNAME", "a")], "password is missing (OS_PASSWORD)");
    check_invalid(&[("OS_USERNAME", "a"), ("OS_PASSWORD", "b")], "auth_url is missing (OS_AUTH_URL)");
    check_invalid(&[url, ("OS_AUTH_TYPE", "v3kerberos")], "auth_type \"v3kerberos\" is none of");
    let all = [url, ("OS_USERNAME", "a"), ("OS_PASSWORD", "b")];
    check_invalid(&[&all[..], &[("OS_INSECURE", "True")]].concat(), "name the authority's certificate");
    check_invalid(&[&all[..], &[("OS_INTERFACE", "secret")]].concat(), "none of public, internal, admin");
}

#[test]
fn a_cloud_is_found_where_clouds_yaml_usually_is_and_secrets_may_lie_beside() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let variables = [("HOME", home.to_str().unwrap()), ("OS_CLOUD", "shop"), ("OS_REGION_NAME", "there")];
    let environment = make_environment(dir.path(), &variables);
    let error = find(None, &environment).unwrap_err().to_string();
    assert!(error.contains("home/.config/openstack/clouds.yaml"), "{error}");

    write(&dir.path().join("etc/clouds.yaml"), "clouds: {other: {}}");
    let error = find(None, &environment).unwrap_err().to_string();
    assert!(error.contains("no cloud \"shop\"; it has: other"), "{error}");
    write(&home.join(".config/openstack/clouds.yaml"), CLOUDS);
    write(&dir.path().join("etc/secure.yaml"), "clouds: {shop: {auth: {password: from-secure}}}");
    let config = find(None, &environment).unwrap();
    assert_eq!(config.auth.to_string(), "user alice of domain Staff for project acme of domain d1");
    assert_eq!(config.auth.url().as_str(), "https://keystone.example:5000/v3");
    assert_eq!((config.region.as_deref(), config.interface), (Some("there"), Interface::Internal));
    assert_eq!(config.endpoints[&Service::Compute].as_str(), "http://nova.example:8774/v2.1");
    assert!(config.auth.body().to_string().contains("from-secure"));
    assert!(!format!("{config:?}").contains("from-secure"), "{config:?}");
    let error = find(Some("insecure"), &environment).unwrap_err().to_string();
    assert!(error.contains("verify is off"), "{error}");
}

#[test]
fn a_number_is_a_password_too() {
    let settings = Settings::of_document(&yaml::parse(CLOUDS).unwrap(), "shop").unwrap();
    assert_eq!(settings.secret("password").unwrap().expose_secret(), "12345");
    assert!(!format!("{settings:?}").contains("12345"));
    let config =
        Settings::of_document(&yaml::parse(CLOUDS).unwrap(), "credential").unwrap().config().unwrap();
    assert_eq!(config.auth.to_string(), "application credential abc");
}

#[test]
fn microversions_are_ordered_by_their_numbers() {
    let parse = |text: &str| text.parse::<Microversion>();
    assert!(parse("2.9").unwrap() < parse("2.10").unwrap());
    assert_eq!(parse("2.79").unwrap().to_string(), "2.79");
    for text in ["2", "2.", ".9", "2.x", "+2.1", "2.99999", "latest"] {
        assert!(parse(text).is_err(), "{text}");
    }
}
