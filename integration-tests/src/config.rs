//! Config files and secrets of a world's services.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use model::HostName;
use secrecy::{ExposeSecret as _, SecretString};

use crate::world::{CloudSections, Places, Spec, address_file, health_file};

/// A hundred years: no test waits for what comes only then.
const NEVER_MS: u64 = 100 * 365 * 86_400_000;

/// How long things take. Tests want to see a lease lapse without waiting minutes.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub lease_ttl_ms: u64,
    pub lease_margin_ms: u64,
    pub heartbeat_interval_ms: u64,
    pub retry_base_ms: u64,
    pub retry_cap_ms: u64,
    pub step_deadline_max_ms: u64,
    pub saga_deadline_max_ms: u64,
    pub tick_ms: u64,
    pub resend_ms: u64,
    pub base_look_ms: u64,
    pub sweep_look_ms: u64,
    pub sweep_age_min_ms: u64,
    pub second_look_ms: u64,
}

impl Timing {
    /// Seconds where production has minutes.
    #[must_use]
    pub const fn quick() -> Self {
        Self {
            lease_ttl_ms: 8_000,
            lease_margin_ms: 2_000,
            heartbeat_interval_ms: 500,
            retry_base_ms: 100,
            retry_cap_ms: 1_000,
            step_deadline_max_ms: 3_600_000,
            saga_deadline_max_ms: 3_600_000,
            tick_ms: 200,
            resend_ms: 1_000,
            base_look_ms: 600_000,
            sweep_look_ms: NEVER_MS,
            sweep_age_min_ms: NEVER_MS,
            second_look_ms: 500,
        }
    }

    /// As in production, but for a retry that is not waited for a minute.
    #[must_use]
    pub const fn patient() -> Self {
        Self {
            lease_ttl_ms: 60_000,
            lease_margin_ms: 10_000,
            heartbeat_interval_ms: 1_000,
            retry_base_ms: 500,
            retry_cap_ms: 5_000,
            step_deadline_max_ms: 3_600_000,
            saga_deadline_max_ms: 3_600_000,
            tick_ms: 250,
            resend_ms: 5_000,
            base_look_ms: 600_000,
            sweep_look_ms: NEVER_MS,
            sweep_age_min_ms: NEVER_MS,
            second_look_ms: 2_000,
        }
    }
}

/// Writes the files.
#[derive(Debug)]
pub struct Writer<'a> {
    pub places: &'a Places,
    pub spec: &'a Spec,
    pub broker_url: String,
    pub management_url: String,
}

impl Writer<'_> {
    /// Writes the key file and the tokens; gives the user's token.
    pub fn write_shared(&self) -> Result<SecretString> {
        let key_file = self.key_file();
        if !key_file.try_exists()? {
            chunk_store::FileKeys::create(&key_file, &runtime::Entropy)?;
        }
        let token = runtime::Entropy.uuid().simple().to_string();
        let tokens = format!(
            "[[token]]\ntoken = \"{token}\"\nuser = \"alice\"\nproject = \"{}\"\nroles = [\"admin\", \"member\"]\n",
            self.spec.project
        );
        self.write_secret("tokens.toml", &tokens)?;
        Ok(SecretString::from(token))
    }

    /// Writes the controller's config: its own password, and that of the user who watches the queues.
    pub fn write_controller(&self, password: &SecretString, monitor: &SecretString) -> Result<()> {
        let database = self.spec.database_dir.clone().unwrap_or_else(|| self.places.state());
        let timing = self.spec.timing;
        let text = format!(
            "drill_file = {faults:?}\n\n{bus}\n[database]\nurl = \"sqlite:{database}\"\n\n[rest]\nlisten = \"127.0.0.1:0\"\n\
             address_file = {address:?}\n\n{auth}\n{cloud}\n[[target]]\nname = \"main\"\npath = {target:?}\n\n\
             [timing]\nlease_ttl_ms = {ttl}\nretry_base_ms = {base}\nretry_cap_ms = {cap}\n\
             step_deadline_max_ms = {step_max}\nsaga_deadline_max_ms = {saga_max}\ntick_ms = {tick}\n\
             base_look_ms = {base_look}\nsweep_look_ms = {sweep_look}\nsweep_age_min_ms = {sweep_age_min}\nsecond_look_ms = {second_look}\n\n{broker}\n{notifications}\n{health}\n{grants}",
            faults = self.places.faults(),
            bus = self.bus("controller", "holdfast-controller", password)?,
            database = database.join("catalog.sqlite").display(),
            address = address_file(self.places),
            auth = self.auth(),
            cloud = self.cloud(|sections| &sections.controller),
            target = self.places.target(),
            ttl = timing.lease_ttl_ms,
            base = timing.retry_base_ms,
            cap = timing.retry_cap_ms,
            step_max = timing.step_deadline_max_ms,
            saga_max = timing.saga_deadline_max_ms,
            tick = timing.tick_ms,
            base_look = timing.base_look_ms,
            sweep_look = timing.sweep_look_ms,
            sweep_age_min = timing.sweep_age_min_ms,
            second_look = timing.second_look_ms,
            broker = self.broker(monitor)?,
            notifications = self.notifications(),
            health = self.health("controller"),
            grants = self.intake_grants(),
        );
        self.write("controller.toml", &text)
    }

    /// Writes dmapi's config.
    pub fn write_dmapi(&self, password: &SecretString) -> Result<()> {
        let bus = self.bus("dmapi", "holdfast-dmapi", password)?;
        let text = format!("{bus}\n{}\n{}", self.cloud(|sections| &sections.dmapi), self.health("dmapi"));
        self.write("dmapi.toml", &text)
    }

    /// Writes the config of one host's datamover.
    pub fn write_datamover(&self, host: &HostName, password: &SecretString) -> Result<()> {
        let timing = self.spec.timing;
        let state_dir = self.places.state().join(format!("datamover-{host}"));
        std::fs::create_dir_all(&state_dir)?;
        let rate = self.spec.rate_limit_mib_per_s.map(|rate| format!("rate_limit_mib_per_s = {rate}\n"));
        let qemu_nbd = self.spec.qemu_nbd.as_ref().map(|path| format!("qemu_nbd = {path:?}\n"));
        let text = format!(
            "host = \"{host}\"\nstate_dir = {state_dir:?}\nkey_file = {key:?}\npools = [\"{pool}\"]\ndrill_file = {faults:?}\n{rate}{qemu_nbd}\n\
             {bus}\n{cloud}\n{health}\n[[target]]\npath = {target:?}\n\n[timing]\nheartbeat_interval_ms = {beat}\nlease_margin_ms = {margin}\n\
             resend_ms = {resend}\n",
            key = self.key_file(),
            pool = self.spec.pool,
            faults = self.places.faults(),
            rate = rate.unwrap_or_default(),
            qemu_nbd = qemu_nbd.unwrap_or_default(),
            bus = self.bus(&format!("datamover-{host}"), &format!("holdfast-mover-{host}"), password)?,
            cloud = self.cloud(|sections| &sections.datamover),
            health = self.health(&format!("datamover-{host}")),
            target = self.places.target(),
            beat = timing.heartbeat_interval_ms,
            margin = timing.lease_margin_ms,
            resend = timing.resend_ms,
        );
        self.write(&format!("datamover-{host}.toml"), &text)
    }

    fn auth(&self) -> String {
        let tokens = || format!("[auth]\ntokens_file = {:?}\n", self.places.etc().join("tokens.toml"));
        self.spec.auth.clone().unwrap_or_else(tokens)
    }

    fn broker(&self, monitor: &SecretString) -> Result<String> {
        self.write_secret("monitor.password", monitor.expose_secret())?;
        let password_file = self.places.etc().join("monitor.password");
        Ok(format!(
            "[broker]\nmanagement_url = \"{}\"\npassword_file = {password_file:?}\n",
            self.management_url
        ))
    }

    /// Our own broker stands for the cloud's: nobody sends there what we listen to, and nobody listens to what we send.
    fn notifications(&self) -> String {
        let own = || {
            format!(
                "[notifications]\nbrokers = [\"{}\"]\nvhost = \"holdfast\"\nuser = \"holdfast-controller\"\n\
                 password_file = {:?}\nexchanges = [\"holdfast.evt\"]\nemit_exchange = \"holdfast.cmd\"\n",
                self.broker_url,
                self.places.etc().join("controller.password")
            )
        };
        self.spec.notifications.clone().unwrap_or_else(own)
    }

    fn health(&self, service: &str) -> String {
        let file = health_file(self.places, service);
        format!("[health]\nlisten = \"127.0.0.1:0\"\naddress_file = {file:?}\n")
    }

    fn intake_grants(&self) -> String {
        let grant = |service: &str| {
            format!(
                "[[intake_grant]]\nservice = \"{service}\"\nkinds = [\"snapshot\"]\nprojects = [\"{}\"]\n",
                self.spec.project
            )
        };
        ["billing", "drill"].map(grant).join("\n")
    }

    fn key_file(&self) -> PathBuf {
        self.places.etc().join("master.key")
    }

    fn cloud(&self, of: impl FnOnce(&CloudSections) -> &String) -> String {
        let folder = || format!("[cloud]\nkind = \"directory\"\npath = {:?}\n", self.places.cloud());
        self.spec.cloud.as_ref().map_or_else(folder, |sections| of(sections).clone())
    }

    fn bus(&self, service: &str, user: &str, password: &SecretString) -> Result<String> {
        let name = format!("{service}.password");
        self.write_secret(&name, password.expose_secret())?;
        Ok(format!(
            "[bus]\nbrokers = [\"{}\"]\nuser = \"{user}\"\npassword_file = {:?}\n",
            self.broker_url,
            self.places.etc().join(name)
        ))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.places.etc().join(name), text)?)
    }

    fn write_secret(&self, name: &str, text: &str) -> Result<()> {
        self.write(name, text)?;
        let path: &Path = &self.places.etc().join(name);
        Ok(std::fs::set_permissions(path, Permissions::from_mode(0o600))?)
    }
}
