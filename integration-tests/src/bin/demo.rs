//! `make demo`.

fn main() -> anyhow::Result<()> {
    integration_tests::demo::run()
}
