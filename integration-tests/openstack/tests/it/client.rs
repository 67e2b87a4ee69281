//! The thin client against the cloud's own services.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::{TryStreamExt as _, stream};
use openstack::{
    Auth, Config, Domain, Error, Interface, Microversion, Named, NewTrust, Scope, Service, Session,
};
use openstack_tests::lab::Lab;
use openstack_tests::project::Project;
use reqwest::Method;
use runtime::Entropy;
use serde_json::{Value, json};

fn make_session(environment: &BTreeMap<String, String>) -> Result<Session> {
    Ok(Session::new(Config::from_variables(environment.clone())?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_log_in_gives_a_token_of_the_same_user() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let session = make_session(project.environment())?;
    let (user_id, project_id) = (session.user_id().await?, session.project_id().await?);
    assert!(session.roles().await?.iter().any(|role| role == "member"));
    let servers: Value = session.get(Service::Compute, "/servers").json().await?;
    assert_eq!(servers["servers"], json!([]), "the project is new");

    // A token as it is, and one for a scope.
    let token = session.token().await?;
    let url = session.auth().url().to_string();
    let given = session.with_auth(Auth::token(&url, token.secret().clone(), Scope::Default)?);
    assert_eq!(given.project_id().await?, project_id);
    let listed: Vec<Value> = given.list(Service::BlockStorage, "/volumes", "volumes").await?;
    assert_eq!(listed.len(), 0);

    // An application credential.
    let body = json!({ "application_credential": { "name": "client-test" } });
    let path = format!("/users/{user_id}/application_credentials");
    let made: Value = session.post(Service::Identity, &path, &body).json().await?;
    let made = &made["application_credential"];
    let id = made["id"].as_str().context("an id")?;
    let secret = made["secret"].as_str().context("a secret")?.to_owned();
    let credential = session.with_auth(Auth::application_credential(&url, id, secret.clone().into())?);
    assert_eq!(credential.user_id().await?, user_id);
    assert_eq!(credential.project_id().await?, project_id);
    let unknown = session.with_auth(Auth::application_credential(&url, "nosuch", secret.into())?);
    let error = unknown.token().await.unwrap_err();
    assert_eq!(error.failure().code, "OPENSTACK_LOGIN_REFUSED", "{error}");
    session.delete_if_there(Service::Identity, &format!("{path}/{id}")).await?;
    session.delete_if_there(Service::Identity, &format!("{path}/{id}")).await?;

    // A trust: the administrator acts as the user.
    let admin = make_session(&lab.admin)?;
    let trust = NewTrust {
        trustor_user_id: user_id.clone(),
        trustee_user_id: admin.user_id().await?,
        project_id: project_id.clone(),
        role_names: vec!["member".to_owned()],
    };
    let trust = session.keystone().create_trust(&trust).await?;
    let trustee = admin.with_trust(&trust.id);
    let token = trustee.token().await?;
    assert_eq!(token.info.user.id, user_id, "the trustee is the trustor");
    assert_eq!(token.info.trust.as_ref().map(|it| it.id.as_str()), Some(trust.id.as_str()));
    assert_eq!(trustee.project_id().await?, project_id);
    assert!(!token.info.has_role("admin"));
    let seen = admin.keystone().validate_token(token.secret()).await?.context("the token is good")?;
    assert_eq!(seen.user.id, user_id);
    assert_eq!(session.keystone().trusts_of_trustor(&user_id).await?.len(), 1);
    session.keystone().delete_trust(&trust.id).await?;
    assert_eq!(admin.keystone().trust(&trust.id).await?, None);
    let error = admin.with_trust(&trust.id).token().await.unwrap_err();
    assert!(matches!(error, Error::LoginRefused { .. }), "{error}");
    assert!(admin.keystone().validate_token(&"no-token".into()).await?.is_none());
    project.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_decide_where_services_are_and_who_asks() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let variable = |name: &str| project.environment()[name].clone();
    // As a file.
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("clouds.yaml");
    let auth = json!({
        "auth_url": variable("OS_AUTH_URL"), "username": variable("OS_USERNAME"),
        "project_name": variable("OS_PROJECT_NAME"),
        "user_domain_name": variable("OS_USER_DOMAIN_NAME"), "project_domain_name": variable("OS_PROJECT_DOMAIN_NAME"),
    });
    let cloud = json!({ "auth": auth, "region_name": "RegionOne", "interface": "internal" });
    // JSON is YAML.
    std::fs::write(&path, json!({ "clouds": { "shop": cloud } }).to_string())?;
    let secret = json!({ "clouds": { "shop": { "auth": { "password": variable("OS_PASSWORD") } } } });
    std::fs::write(dir.path().join("secure.yaml"), secret.to_string())?;
    let config = Config::from_clouds_yaml(&path, "shop")?;
    assert_eq!((config.region.as_deref(), config.interface), (Some("RegionOne"), Interface::Internal));
    let session = Session::new(config.clone())?;
    for service in
        [Service::Compute, Service::BlockStorage, Service::Image, Service::Network, Service::Placement]
    {
        assert_eq!(session.endpoint(service).await?.scheme(), "http", "{service}");
    }
    session.list::<Value>(Service::Network, "/ports", "ports").await?;

    let error = Session::new(Config { region: Some("Nowhere".to_owned()), ..config.clone() })?;
    let error = error.get(Service::Compute, "/servers").done().await.unwrap_err();
    assert!(error.to_string().contains("in region Nowhere; it has: "), "{error}");
    let error = session.endpoint(Service::KeyManager).await.unwrap_err();
    assert_eq!(error.failure().code, "OPENSTACK_ENDPOINT_MISSING", "{error}");

    let user = Named::Name { name: variable("OS_USERNAME"), domain: Domain::Name("Default".to_owned()) };
    let wrong = Auth::password(&variable("OS_AUTH_URL"), user, "wrong-password".into(), Scope::Default)?;
    let error = session.with_auth(wrong).token().await.unwrap_err().to_string();
    assert!(error.contains(&variable("OS_USERNAME")) && error.contains("requires authentication"), "{error}");
    assert!(!error.contains("wrong-password"), "{error}");
    project.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_the_request_and_versions_that_are_too_new_what_there_is() -> Result<()> {
    let lab = Lab::from_env()?;
    let admin = make_session(&lab.admin)?;
    let missing = Entropy.uuid();
    for (service, path, words) in [
        (Service::Compute, format!("/servers/{missing}"), "could not be found"),
        (Service::BlockStorage, format!("/volumes/{missing}"), "could not be found"),
        (Service::Network, format!("/ports/{missing}"), "could not be found"),
        (Service::Image, format!("/images/{missing}"), "No image found"),
        (Service::Identity, format!("/projects/{missing}"), "Could not find project"),
    ] {
        let error = admin.get(service, &path).json::<Value>().await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains(&path) && text.contains("(request req-"), "{text}");
        assert!(admin.get(service, &path).json_if_found::<Value>().await?.is_none());
    }
    for (service, path, version, offered) in [
        (Service::Compute, "/servers", Microversion::new(2, 999), "2.1 to 2."),
        (Service::BlockStorage, "/volumes", Microversion::new(3, 999), "3.0 to 3."),
        (Service::Placement, "/resource_providers", Microversion::new(1, 999), "1.0 to 1."),
    ] {
        admin
            .get(service, path)
            .json::<Value>()
            .await
            .with_context(|| format!("{service} as it is pinned"))?;
        let error = admin.get(service, path).microversion(version).json::<Value>().await.unwrap_err();
        assert!(matches!(error, Error::VersionUnsupported { .. }), "{error}");
        assert!(error.to_string().contains(offered), "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_one_item_give_the_same_list_as_one_page() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let session = make_session(project.environment())?;
    let mut made = Vec::new();
    for nth in 0..3 {
        let image = json!({ "name": format!("image-{nth}"), "disk_format": "raw", "container_format": "bare", "visibility": "private" });
        session.post(Service::Image, "/images", &image).done().await?;
        let volume = json!({ "volume": { "name": format!("volume-{nth}"), "size": 1 } });
        session.post(Service::BlockStorage, "/volumes", &volume).done().await?;
        let group = json!({ "security_group": { "name": format!("group-{nth}") } });
        let group: Value = session.post(Service::Network, "/security-groups", &group).json().await?;
        made.push(group["security_group"]["id"].as_str().context("an id")?.to_owned());
    }
    for (service, path, key, count) in [
        (Service::Image, "/images?visibility=private", "images", Some(3)),
        (Service::BlockStorage, "/volumes", "volumes", Some(3)),
        (Service::Network, "/security-groups", "security_groups", Some(4)),
        (Service::Compute, "/flavors", "flavors", None),
    ] {
        let whole: Vec<Value> = session.list(service, path, key).await?;
        let joint = if path.contains('?') { '&' } else { '?' };
        let paged: Vec<Value> = session.list(service, &format!("{path}{joint}limit=1"), key).await?;
        let ids = |list: &[Value]| {
            let mut ids: Vec<_> = list.iter().map(|item| item["id"].to_string()).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(&paged), ids(&whole), "{service}");
        assert!(
            whole.len() > 1 && count.is_none_or(|count| whole.len() == count),
            "{service}: {}",
            whole.len()
        );
    }
    for id in made {
        session.delete_if_there(Service::Network, &format!("/security-groups/{id}")).await?;
    }
    project.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_up_and_comes_down_as_a_stream() -> Result<()> {
    const PARTS: u8 = 48;
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let session = make_session(project.environment())?;
    let image = json!({ "name": "streamed", "disk_format": "raw", "container_format": "bare", "visibility": "private" });
    let image: Value = session.post(Service::Image, "/images", &image).json().await?;
    let path = format!("/images/{}", image["id"].as_str().context("an id")?);
    let part = |nth: u8| Bytes::from(vec![nth; 512 << 10]);
    let parts = stream::iter((0..PARTS).map(move |nth| Ok(part(nth))));
    session.request(Method::PUT, Service::Image, &format!("{path}/file")).body_stream(parts).done().await?;
    let patch = json!([{ "op": "add", "path": "/holdfast", "value": "seen" }]);
    let request = session.patch(Service::Image, &path, &patch);
    request.content_type("application/openstack-images-v2.1-json-patch").done().await?;
    let image: Value = session.get(Service::Image, &path).json().await?;
    assert_eq!((&image["status"], &image["holdfast"]), (&json!("active"), &json!("seen")));

    let answer = session.get(Service::Image, &format!("{path}/file")).send_for_stream().await?;
    let down: Vec<u8> = answer.stream().map_ok(|part| part.to_vec()).try_concat().await?;
    let up: Vec<u8> = (0..PARTS).flat_map(|nth| part(nth).to_vec()).collect();
    assert!(down == up, "{} bytes came back of {}", down.len(), up.len());
    session.delete_if_there(Service::Image, &path).await?;
    project.close()
}
