//! `make soak MINUTES=60 SEED=1`.

fn main() -> anyhow::Result<()> {
    integration_tests::soak::run()
}
