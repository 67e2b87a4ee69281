//! `holdfast-controller register` against the cloud's Keystone, under names of the test's own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use controller::register::{Registration, register};
use integration_tests::wait::until_async;
use openstack::{Auth, Config, Domain, Interface, Named, Scope, Session};
use openstack_tests::lab::Lab;
use runtime::Entropy;

const LOGIN_MAX: Duration = Duration::from_secs(10);

/// Everything by one name, so that it is found again.
fn make_order(name: &str, password_file: std::path::PathBuf) -> Registration {
    let url = "http://controller.example:8784".to_owned();
    Registration {
        service_type: name.to_owned(),
        service_name: name.to_owned(),
        region: None,
        public_url: url.clone(),
        internal_url: url.clone(),
        admin_url: url,
        trustee_role: name.to_owned(),
        user: name.to_owned(),
        user_roles: vec!["service".to_owned()],
        user_domain: "Default".to_owned(),
        project: "service".to_owned(),
        project_domain: "Default".to_owned(),
        password_file,
        interface: Interface::Internal,
        is_dry_run: false,
    }
}

/// Removes what was registered; says whether something was there.
async fn remove(session: &Session, name: &str) -> Result<bool> {
    let keystone = session.keystone();
    let domain = keystone.domain("Default").await?.context("the domain")?.id;
    let services = keystone.services(name).await?;
    let (user, role) = (keystone.user(name, &domain).await?, keystone.role(name).await?);
    for service in &services {
        keystone.delete_service(&service.id).await?;
    }
    if let Some(user) = &user {
        keystone.delete_user(&user.id).await?;
    }
    if let Some(role) = &role {
        keystone.delete_role(&role.id).await?;
    }
    Ok(!services.is_empty() || user.is_some() || role.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_twice_is_as_once_and_a_dry_run_touches_nothing() -> Result<()> {
    let lab = Lab::from_env()?;
    let config = Config::from_variables(lab.admin.clone())?;
    let session = Session::new(config.clone())?;
    let name = format!("holdfast-test-{}", Entropy.uuid().simple());
    let dir = tempfile::tempdir()?;
    let order = make_order(&name, dir.path().join("password"));
    let outcome = walk(&config, &session, &order).await;
    let was_there = remove(&session, &name).await?;
    outcome?;
    ensure!(was_there, "it was registered");
    ensure!(!remove(&session, &name).await?, "nothing is left");
    Ok(())
}

async fn walk(config: &Config, session: &Session, order: &Registration) -> Result<()> {
    let keystone = session.keystone();
    let dry = Registration { is_dry_run: true, ..order.clone() };
    let told = register(config.clone(), &dry).await?;
    // Service, three endpoints, trustee role, user, his role in the project.
    ensure!(told.matches("would be made").count() == 7, "{told}");
    ensure!(keystone.services(&order.service_type).await?.is_empty() && !order.password_file.try_exists()?);

    let told = register(config.clone(), order).await?;
    ensure!(told.matches(": made").count() == 7 && told.contains("the service user logs in"), "{told}");
    ensure!(told.contains("[openstack]") && told.contains("trustee_role"), "{told}");
    let password = std::fs::read_to_string(&order.password_file)?;
    ensure!(!told.contains(password.trim()), "the password is in its file only");
    let service = &keystone.services(&order.service_type).await?[0];
    let endpoints = keystone.endpoints(&service.id, "RegionOne").await?;
    ensure!(endpoints.len() == 3, "{endpoints:?}");
    ensure!(endpoints.iter().all(|it| it.url == "http://controller.example:8784/v1/$(project_id)s"));

    let again = register(config.clone(), order).await?;
    ensure!(again.matches("is there").count() == 8 && !again.contains("made"), "{again}");

    let moved = Registration { public_url: "https://backup.example".to_owned(), ..order.clone() };
    let told = register(config.clone(), &moved).await?;
    ensure!(told.matches(": changed").count() == 1 && !told.contains(": made"), "{told}");
    std::fs::remove_file(&order.password_file)?;
    let refusal = register(config.clone(), &moved).await.unwrap_err().to_string();
    ensure!(refusal.contains("bring the file"), "nobody's password is changed unasked: {refusal}");
    std::fs::write(&order.password_file, "another-one-0123456789")?;
    let told = register(config.clone(), &moved).await?;
    ensure!(told.matches(": changed").count() == 1 && told.contains("user holdfast-test"), "{told}");

    // The service user may do what it is for.
    let named =
        |name: &str| Named::Name { name: name.to_owned(), domain: Domain::Name("Default".to_owned()) };
    let password = std::fs::read_to_string(&order.password_file)?;
    let (user, scope) = (named(&order.user), Scope::Project(named(&order.project)));
    let auth = Auth::password(config.auth.url().as_str(), user, password.trim().into(), scope)?;
    let own = session.with_auth(auth);
    let admin = session.token().await?;
    // Keystone revokes what was issued in the very second of a new password, too.
    let seen = until_async(LOGIN_MAX, "the new password's token holds", async || {
        Ok(own.keystone().validate_token(admin.secret()).await.ok().flatten())
    });
    let seen = seen.await?;
    ensure!(seen.has_role("admin") && !own.token().await?.info.has_role("admin"));

    let rival = Registration { service_name: "another".to_owned(), ..order.clone() };
    let refusal = register(config.clone(), &rival).await.unwrap_err();
    ensure!(refusal.reason.contains("has a service of type"), "{refusal}");
    let nowhere = Registration { region: Some("Nowhere".to_owned()), ..order.clone() };
    let refusal = register(config.clone(), &nowhere).await.unwrap_err();
    ensure!(refusal.reason.contains("there are: RegionOne"), "{refusal}");
    Ok(())
}
