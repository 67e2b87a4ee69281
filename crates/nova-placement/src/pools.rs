//! Which pool of datamovers reaches which backend of Cinder and which backup target: a table in dmapi's config.

use std::collections::BTreeMap;

use model::{PoolName, TargetId, VolumeId};

use crate::error::Error;

/// Backends whose name fits a pattern are reached by a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// As Cinder names backends, `HOST@BACKEND#POOL`; `*` stands for any text.
    pub host_pattern: String,
    pub pool: PoolName,
}

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pools {
    /// The first that fits holds.
    pub backends: Vec<Rule>,
    pub targets: BTreeMap<TargetId, PoolName>,
    /// For whatever the others do not name.
    pub default: Option<PoolName>,
}

impl Pools {
    /// The pool that reaches a volume on `backend`.
    pub(crate) fn of_backend(&self, id: VolumeId, backend: &str) -> Result<PoolName, Error> {
        let rule = self.backends.iter().find(|rule| fits(&rule.host_pattern, backend));
        let pool = rule.map(|rule| &rule.pool).or(self.default.as_ref()).cloned();
        pool.ok_or_else(|| Error::NoPool { id, backend: backend.to_owned() })
    }

    /// The pool that reaches a target.
    pub(crate) fn of_target(&self, id: TargetId) -> Result<PoolName, Error> {
        let pool = self.targets.get(&id).or(self.default.as_ref()).cloned();
        pool.ok_or(Error::NoPoolForTarget { id })
    }
}

/// Whether `text` is `pattern`, with any text for each `*`.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().expect("a split gives one part at least");
    for part in parts {
        // The earliest place leaves most for what follows.
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let fitting = [
            ("node@rbd#rbd", "node@rbd#rbd"),
            ("*", ""),
            ("*", "node@rbd#rbd"),
            ("*@rbd#*", "node-1.example@rbd#rbd"),
            ("node*", "node-1@lvm#lvm"),
            ("*@ceph-*#fast", "a@ceph-1@ceph-2#fast"),
            ("a**b", "ab"),
        ];
        for (pattern, text) in fitting {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        let others = [
            ("node@rbd#rbd", "node@rbd#rbd2"),
            ("*@rbd#*", "node@rbd2#rbd"),
            ("", "node"),
            ("a*a", "a"),
            ("*@rbd", "node@rbd#rbd"),
        ];
        for (pattern, text) in others {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_holds_and_the_default_only_where_none_does() {
        let rule = |pattern: &str, pool: &str| Rule {
            host_pattern: pattern.to_owned(),
            pool: pool.parse().unwrap(),
        };
        let backends = vec![rule("*@ceph-1#*", "one"), rule("*@ceph-*", "other")];
        let mut pools = Pools { backends, ..Pools::default() };
        let id = VolumeId::from_uuid(runtime::Entropy.uuid());
        let target = TargetId::from_uuid(runtime::Entropy.uuid());
        assert_eq!(pools.of_backend(id, "a@ceph-1#ssd").unwrap().to_string(), "one");
        assert_eq!(pools.of_backend(id, "a@ceph-2#ssd").unwrap().to_string(), "other");
        let failure = model::Failure::from(pools.of_backend(id, "a@lvm#lvm").unwrap_err());
        assert_eq!(failure.code, "NO_POOL_FOR_BACKEND");
        assert!(failure.message.contains("a@lvm#lvm"), "{failure}");
        assert_eq!(model::Failure::from(pools.of_target(target).unwrap_err()).code, "NO_POOL_FOR_TARGET");
        pools.default = Some("rest".parse().unwrap());
        assert_eq!(pools.of_backend(id, "a@lvm#lvm").unwrap().to_string(), "rest");
        assert_eq!(pools.of_target(target).unwrap().to_string(), "rest");
        pools.targets.insert(target, "near".parse().unwrap());
        assert_eq!(pools.of_target(target).unwrap().to_string(), "near");
    }
}
