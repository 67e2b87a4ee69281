//! The options of `register`.

use std::path::PathBuf;

use clap::Args;
use openstack::{Config, Interface};
use service_kit::StartError;

use crate::register::{Registration, register};

#[derive(Debug, Args)]
pub(super) struct Register {
    /// The controllers' address for users, as a client reaches it, for example `https://backup.example.org:8784`.
    #[arg(long, value_name = "URL")]
    public_url: String,
    /// Their address for services [default: the public one].
    #[arg(long, value_name = "URL")]
    internal_url: Option<String>,
    /// Their address for operators [default: the internal one].
    #[arg(long, value_name = "URL")]
    admin_url: Option<String>,
    /// The region of the endpoints [default: the only one there is].
    #[arg(long)]
    region: Option<String>,
    /// Only users with this role may use Holdfast; made when it is missing.
    #[arg(long, default_value = "creator", value_name = "ROLE")]
    trustee_role: String,
    /// The password of the service user: read when the file is there, else made and written.
    #[arg(long, value_name = "FILE", default_value = "holdfast-openstack.password")]
    password_file: PathBuf,
    /// Looks, says what would be done, and touches nothing.
    #[arg(long)]
    dry_run: bool,
    /// An administrator of Keystone: a cloud of clouds.yaml. Also: OS_CLOUD, or OS_AUTH_URL and the other variables.
    #[arg(long, value_name = "CLOUD")]
    os_cloud: Option<String>,
    #[arg(long, default_value = "workloads", value_name = "TYPE")]
    service_type: String,
    #[arg(long, default_value = "holdfast", value_name = "NAME")]
    service_name: String,
    /// The service user; made when it is missing.
    #[arg(long, default_value = "holdfast", value_name = "NAME")]
    user: String,
    /// A role that the service user gets in its project; may be given several times. `service` lets it validate tokens.
    #[arg(long = "user-role", default_value = "service", value_name = "ROLE")]
    user_roles: Vec<String>,
    #[arg(long, default_value = "Default", value_name = "DOMAIN")]
    user_domain: String,
    /// The project of the services' users.
    #[arg(long, default_value = "service", value_name = "PROJECT")]
    service_project: String,
    #[arg(long, default_value = "Default", value_name = "DOMAIN")]
    project_domain: String,
    /// By which endpoints the controllers will reach the other services: public, internal or admin.
    #[arg(long, default_value = "internal")]
    interface: Interface,
}

impl Register {
    pub(super) async fn execute(self) -> Result<String, StartError> {
        let administrator = Config::find(self.os_cloud.as_deref())
            .map_err(|error| StartError::usage(error.failure().to_string()))?;
        let internal_url = self.internal_url.unwrap_or_else(|| self.public_url.clone());
        let order = Registration {
            admin_url: self.admin_url.unwrap_or_else(|| internal_url.clone()),
            internal_url,
            public_url: self.public_url,
            service_type: self.service_type,
            service_name: self.service_name,
            region: self.region,
            trustee_role: self.trustee_role,
            user: self.user,
            user_roles: self.user_roles,
            user_domain: self.user_domain,
            project: self.service_project,
            project_domain: self.project_domain,
            password_file: self.password_file,
            interface: self.interface,
            is_dry_run: self.dry_run,
        };
        register(administrator, &order).await
    }
}
