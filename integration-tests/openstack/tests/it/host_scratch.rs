//! A guest does not stop because there is too little room for its old blocks.

use std::time::Duration;

use anyhow::Result;
use integration_tests::wait::{until, until_async};
use model::ByteCount;
use openstack_tests::compute::Compute;
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::{state, virsh};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;

const LOSS_MAX: Duration = Duration::from_secs(60);
const WRITE_MAX: Duration = Duration::from_secs(60);
/// Overwrites the file that was written before, past all caches.
const OVERWRITE: &str = "dd if=/dev/zero of=/var/lib/old bs=1M count=60 conv=notrunc 2>/dev/null && sync";

/// Sees whether a guest is paused while something is done.
struct PauseWatch(std::process::Child);

impl PauseWatch {
    fn begin(instance: &str) -> Result<Self> {
        let mut command = std::process::Command::new("virsh");
        command.args(["--quiet", "--connect", "qemu:///system", "event", "--loop", "--event", "lifecycle"]);
        let child =
            command.args(["--timeout", "300", instance]).stdout(std::process::Stdio::piped()).spawn()?;
        Ok(Self(child))
    }

    /// What was seen until now.
    fn end(mut self) -> Result<String> {
        // SIGINT makes it print what it has.
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        let mut seen = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut seen)?;
        }
        self.0.wait()?;
        Ok(seen)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_goes_on_when_the_scratch_folder_is_too_small_for_what_it_writes() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("scratch: server from an image, booted");
    let instance = project.create_local_server("writing")?;
    let guest = Guest::wait_for(&instance)?;
    guest.write_file("/var/lib/old", 60)?;
    drop(phase);

    let phase = Phase::begin("scratch: 8 MiB, refused before anything begins");
    let compute = Compute::open_with_scratch_of(&lab, 8, ByteCount::gib(2)).await?;
    let refused = compute.cut(&instance, None).await.unwrap_err().to_string();
    assert!(refused.contains("SCRATCH_FULL"), "{refused}");
    drop(compute);
    drop(phase);

    let phase = Phase::begin("scratch: 64 MiB, given up before it is full");
    let compute = Compute::open_with_scratch_of(&lab, 64, ByteCount::mib(60)).await?;
    let cut = compute.cut(&instance, None).await?;
    let watch = PauseWatch::begin(&instance)?;
    guest.run(OVERWRITE)?;
    let lost = async || Ok(compute.loss(&cut).await.ok());
    let loss = until_async(LOSS_MAX, "the moment is lost", lost).await?;
    assert!(loss.code == "POINT_IN_TIME_LOST" && loss.message.contains("scratch folder"), "{loss}");
    let seen = watch.end()?;
    assert!(!seen.contains("Suspended"), "the guest was paused: {seen}");
    compute.end(&cut, false).await?;
    drop(compute);
    drop(phase);

    let phase = Phase::begin("scratch: 8 MiB, full in no time: the guest goes on all the same");
    let compute = Compute::open_with_scratch_of(&lab, 8, ByteCount::kib(64)).await?;
    let cut = compute.cut(&instance, None).await?;
    // While the guest is paused its agent cannot be asked, so the work goes on by itself, and its end is waited for.
    guest.run(&format!("(sleep 3; {OVERWRITE} && touch /var/lib/done) > /dev/null 2>&1 &"))?;
    let lost = async || Ok(compute.loss(&cut).await.ok());
    assert_eq!(until_async(LOSS_MAX, "the moment is lost", lost).await?.code, "POINT_IN_TIME_LOST");
    until(WRITE_MAX, "the guest has written", || Ok(guest.run("test -e /var/lib/done").ok()))?;
    assert!(state(&instance)?.starts_with("running"), "{}", state(&instance)?);
    compute.end(&cut, false).await?;
    assert_eq!(virsh(&["domjobinfo", &instance])?.trim().replace(' ', ""), "Jobtype:None");
    guest.write_file("/var/lib/after", 1)?;
    drop(compute);
    drop(phase);
    project.close()
}
