//! Whether the project's quotas have room for a plan: its exact need, compared before anything is made.

use std::collections::BTreeMap;

use cloud::Planned;
use model::{Failure, Owner};
use openstack::Service::{BlockStorage, Compute};
use serde::Deserialize;
use serde_json::Value;

use crate::calls::Calls;
use crate::volumes::gib;
use crate::wire::{cinder, nova};

/// A limit, and what is used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Quota {
    /// Below zero: none.
    limit: i64,
    in_use: i64,
    #[serde(default)]
    reserved: i64,
}

/// Quotas by the services' names for them.
type Quotas = BTreeMap<String, Quota>;
/// What a plan needs of each.
type Needs = BTreeMap<String, i64>;

/// Errors: `QUOTA_TOO_SMALL` names every quota that is, with need, rest and limit.
pub(crate) async fn check(
    calls: &Calls,
    owner: &Owner,
    snapshots_count_gigabytes: bool,
    plan: &[Planned],
) -> Result<(), Failure> {
    let needs = needs(plan, snapshots_count_gigabytes);
    let mut quotas = Quotas::new();
    if plan.iter().any(|planned| !matches!(planned, Planned::Instance { .. })) {
        let path = format!("/os-quota-sets/{}?usage=True", owner.project_id);
        let body: cinder::QuotaSetBody = calls.get(BlockStorage, path).await?;
        quotas.extend(of_cinder(body));
    }
    if plan.iter().any(|planned| matches!(planned, Planned::Instance { .. })) {
        let body: nova::LimitsBody = calls.get(Compute, "/limits".to_owned()).await?;
        quotas.extend(of_nova(&body.limits.absolute));
    }
    let mut short = shortages(&needs, &quotas);
    short.extend(oversized(plan, &quotas));
    if short.is_empty() {
        return Ok(());
    }
    let message = format!(
        "project {} has not enough quota: {}; free some, or have the quota raised",
        owner.project_id,
        short.join("; ")
    );
    Err(Failure::permanent("QUOTA_TOO_SMALL", message))
}

/// Cinder counts each thing in a quota of its own and in one of its type.
fn needs(plan: &[Planned], snapshots_count_gigabytes: bool) -> Needs {
    let mut needs = Needs::new();
    let mut need = |name: &str, volume_type: &str, count: u64| {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        for name in [name.to_owned(), format!("{name}_{volume_type}")] {
            if !name.ends_with('_') {
                let sum = needs.entry(name).or_default();
                *sum = i64::saturating_add(*sum, count);
            }
        }
    };
    for planned in plan {
        match planned {
            Planned::VolumeSnapshot { volume_type, size } => {
                need("snapshots", volume_type, 1);
                if snapshots_count_gigabytes {
                    need("gigabytes", volume_type, gib(*size));
                }
            }
            Planned::Volume { volume_type, size } => {
                need("volumes", volume_type, 1);
                need("gigabytes", volume_type, gib(*size));
            }
            Planned::Instance { vcpus, ram_mib } => {
                need("instances", "", 1);
                need("cores", "", u64::from(*vcpus));
                need("ram", "", *ram_mib);
            }
        }
    }
    needs
}

fn shortages(needs: &Needs, quotas: &Quotas) -> Vec<String> {
    let mut short = Vec::new();
    for (name, need) in needs {
        // A quota that the cloud does not tell cannot be checked.
        let Some(Quota { limit, in_use, reserved }) = quotas.get(name).copied().filter(|it| it.limit >= 0)
        else {
            continue;
        };
        let left = limit.saturating_sub(in_use).saturating_sub(reserved).max(0);
        if *need > left {
            let unit = unit(name);
            short.push(format!("{need} {unit} are needed, {left} of {limit} are left (quota {name})"));
        }
    }
    short
}

fn oversized(plan: &[Planned], quotas: &Quotas) -> Option<String> {
    let limit = quotas.get("per_volume_gigabytes")?.limit;
    let largest = plan.iter().filter_map(|planned| match planned {
        Planned::Volume { size, .. } => i64::try_from(gib(*size)).ok(),
        _ => None,
    });
    let largest = largest.max().filter(|largest| limit >= 0 && *largest > limit)?;
    Some(format!("a volume of {largest} GiB is needed, {limit} are allowed (quota per_volume_gigabytes)"))
}

fn unit(name: &str) -> &'static str {
    match name.split('_').next().unwrap_or_default() {
        "snapshots" => "volume snapshots",
        "volumes" => "volumes",
        "gigabytes" => "GiB of volumes and volume snapshots",
        "instances" => "instances",
        "cores" => "vCPUs",
        _ => "MiB of memory",
    }
}

fn of_cinder(body: cinder::QuotaSetBody) -> impl Iterator<Item = (String, Quota)> {
    // The project's id stands among the quotas.
    let quota = |(name, value): (String, Value)| Some((name, serde_json::from_value(value).ok()?));
    body.quota_set.into_iter().filter_map(quota)
}

fn of_nova(limits: &BTreeMap<String, i64>) -> impl Iterator<Item = (String, Quota)> {
    let names = [
        ("instances", "maxTotalInstances", "totalInstancesUsed"),
        ("cores", "maxTotalCores", "totalCoresUsed"),
        ("ram", "maxTotalRAMSize", "totalRAMUsed"),
    ];
    names.into_iter().filter_map(|(name, limit, used)| {
        let (limit, in_use) = (*limits.get(limit)?, *limits.get(used)?);
        Some((name.to_owned(), Quota { limit, in_use, reserved: 0 }))
    })
}

#[cfg(test)]
mod tests {
    use model::ByteCount;
    use serde_json::json;

    use super::*;

    fn plan() -> Vec<Planned> {
        let (volume_type, size) = ("rbd".to_owned(), ByteCount(ByteCount::gib(1).0 + 1));
        vec![
            Planned::VolumeSnapshot { volume_type: volume_type.clone(), size },
            Planned::VolumeSnapshot { volume_type: volume_type.clone(), size },
            Planned::Volume { volume_type, size },
            Planned::Instance { vcpus: 2, ram_mib: 512 },
        ]
    }

    fn quotas(value: Value) -> Quotas {
        of_cinder(serde_json::from_value(value).unwrap()).collect()
    }

    #[test]
    fn the_need_of_a_plan_is_exact_and_also_by_type() {
        let of = |counts| needs(&plan(), counts).into_iter().map(|(name, need)| format!("{name} {need}"));
        let wanted = "cores 2, gigabytes 6, gigabytes_rbd 6, instances 1, ram 512, snapshots 2, snapshots_rbd 2, \
                      volumes 1, volumes_rbd 1";
        assert_eq!(of(true).collect::<Vec<_>>().join(", "), wanted);
        assert!(of(false).any(|need| need == "gigabytes 2"));
    }

    #[test]
    fn a_shortage_names_need_rest_and_limit() {
        let quotas = quotas(json!({"quota_set": {
            "id": "2c813f7aa1864a6191f94bef99a76ec5",
            "snapshots": {"limit": 10, "in_use": 8, "reserved": 1},
            "snapshots_rbd": {"limit": -1, "in_use": 80, "reserved": 0},
            "gigabytes": {"limit": 6, "in_use": 0, "reserved": 0},
            "volumes_rbd": {"limit": 0, "in_use": 0, "reserved": 0},
            "per_volume_gigabytes": {"limit": 1, "in_use": 0, "reserved": 0},
        }}));
        let short = shortages(&needs(&plan(), true), &quotas);
        assert_eq!(
            short,
            [
                "2 volume snapshots are needed, 1 of 10 are left (quota snapshots)",
                "1 volumes are needed, 0 of 0 are left (quota volumes_rbd)",
            ]
        );
        let too_big = oversized(&plan(), &quotas).unwrap();
        assert_eq!(too_big, "a volume of 2 GiB is needed, 1 are allowed (quota per_volume_gigabytes)");
    }

    #[test]
    fn nova_tells_its_quotas_as_limits() {
        let limits = [
            ("maxTotalCores", 20),
            ("totalCoresUsed", 19),
            ("maxTotalInstances", -1),
            ("totalInstancesUsed", 3),
        ];
        let limits = limits.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let short = shortages(&needs(&plan(), true), &of_nova(&limits).collect());
        assert_eq!(short, ["2 vCPUs are needed, 1 of 20 are left (quota cores)"]);
    }
}
