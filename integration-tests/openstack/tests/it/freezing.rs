use anyhow::Result;
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;

#[test]
fn a_guest_is_frozen_and_thawed_through_its_agent() -> Result<()> {
    let project = Project::create(&Lab::from_env()?)?;
    let phase = Phase::begin("freezing: server from an image, booted");
    let guest = Guest::wait_for(&project.create_local_server("frozen")?)?;
    drop(phase);

    let phase = Phase::begin("freezing: freeze and thaw");
    let frozen = guest.freeze()?;
    assert!(frozen >= 1, "{frozen}");
    assert_eq!(guest.frozen_status()?, "frozen");
    // A driver must look before it freezes: the agent of a frozen guest refuses all but status and thaw.
    let again = guest.freeze().unwrap_err().to_string();
    assert!(again.contains("frozen"), "{again}");
    assert_eq!(guest.thaw()?, frozen, "it had been frozen until now");
    assert_eq!(guest.thaw()?, 0, "nothing was frozen any more");
    assert_eq!(guest.frozen_status()?, "thawed");
    guest.write_file("/var/lib/after", 1)?;
    drop(phase);
    project.close()
}
