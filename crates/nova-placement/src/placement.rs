//! The port, over the sources that are configured.

use async_trait::async_trait;
use cloud::{Located, Placement};
use model::{Failure, InstanceId, PoolName, TargetId, VolumeId};

use crate::address::DatabaseUrl;
use crate::api::Api;
use crate::cinder::Cinder;
use crate::database::Account;
use crate::error::Error;
use crate::nova::{Cells, Nova};
use crate::pools::Pools;
use crate::source::{Source, VolumeState};

/// What dmapi's config says.
#[derive(Debug, Clone)]
pub struct Settings {
    pub databases: Option<Databases>,
    /// The service identity, for the APIs.
    pub api: Option<openstack::Config>,
    pub pools: Pools,
}

/// Which databases are read, and as whom.
#[derive(Debug, Clone)]
pub struct Databases {
    pub nova_api: DatabaseUrl,
    pub cells: Cells,
    pub cinder: Option<DatabaseUrl>,
    pub account: Account,
}

/// Where instances and volumes of an OpenStack are.
#[derive(Debug)]
pub struct OpenstackPlacement {
    /// Asked in this order until one answers.
    sources: Vec<Box<dyn Source>>,
    pools: Pools,
}

impl OpenstackPlacement {
    /// A placement by `settings`. Connects when it is first asked.
    ///
    /// Errors: what is said of the API makes no sense.
    pub fn new(settings: Settings) -> Result<Self, openstack::Error> {
        let mut sources = Vec::<Box<dyn Source>>::new();
        if let Some(databases) = settings.databases {
            sources.push(Box::new(DatabaseSource::new(databases)));
        }
        if let Some(config) = settings.api {
            sources.push(Box::new(Api::new(config)?));
        }
        Ok(Self { sources, pools: settings.pools })
    }

    async fn volume(&self, id: VolumeId) -> Result<Option<VolumeState>, Failure> {
        let mut silent = Silent::default();
        for source in &self.sources {
            match source.volume(id).await {
                Ok(volume) => return Ok(volume),
                Err(failure) => silent.note(failure),
            }
        }
        Err(silent.first())
    }
}

/// Why sources gave no answer.
#[derive(Debug, Default)]
struct Silent(Option<Failure>);

impl Silent {
    fn note(&mut self, failure: Failure) {
        let (code, reason) = (&failure.code, &failure.message);
        tracing::warn!(
            code,
            reason,
            "a source of the cloud gave no answer, will ask the next if there is one"
        );
        self.0.get_or_insert(failure);
    }

    /// The reason of the one that is asked first: it is the one to mend.
    fn first(self) -> Failure {
        self.0.expect("a config without a source is refused")
    }
}

#[async_trait]
impl Placement for OpenstackPlacement {
    async fn locate_instance(&self, id: InstanceId) -> Result<Located, Failure> {
        let mut silent = Silent::default();
        for source in &self.sources {
            match source.locate(id).await {
                Ok(located) => return Ok(located),
                Err(failure) => silent.note(failure),
            }
        }
        Err(silent.first())
    }

    async fn pool_of_volume(&self, id: VolumeId) -> Result<PoolName, Failure> {
        let host =
            self.volume(id).await?.ok_or(Error::VolumeNotFound { id })?.host.filter(|host| !host.is_empty());
        let backend = host.ok_or(Error::VolumeNotPlaced { id })?;
        Ok(self.pools.of_backend(id, &backend)?)
    }

    async fn pool_of_target(&self, id: TargetId) -> Result<PoolName, Failure> {
        Ok(self.pools.of_target(id)?)
    }
}

/// The databases of Nova and Cinder.
#[derive(Debug)]
struct DatabaseSource {
    nova: Nova,
    cinder: Option<Cinder>,
}

impl DatabaseSource {
    fn new(databases: Databases) -> Self {
        let Databases { nova_api, cells, cinder, account } = databases;
        let cinder = cinder.map(|url| Cinder::new(&url, &account));
        Self { nova: Nova::new(&nova_api, cells, account), cinder }
    }
}

#[async_trait]
impl Source for DatabaseSource {
    async fn locate(&self, id: InstanceId) -> Result<Located, Failure> {
        Ok(self.nova.locate(id).await?)
    }

    async fn volume(&self, id: VolumeId) -> Result<Option<VolumeState>, Failure> {
        let cinder = self.cinder.as_ref().ok_or(Error::NoVolumeSource)?;
        Ok(cinder.volume(id).await?)
    }
}
