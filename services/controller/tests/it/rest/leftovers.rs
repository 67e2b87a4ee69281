//! Sweeps that nobody asks for.

use std::time::Duration;

use controller::app::leftovers::start_by_itself;

use super::fixture::Service;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_turn_has_one_sweep_however_many_controllers_begin_it() {
    let service = Service::start().await;
    // One turn of a hundred years: none ends while we look.
    let turn = DAY * 36_500;
    let start = || start_by_itself(&service.state, turn, DAY);
    let (one, other) = tokio::join!(start(), start());
    assert_eq!(u8::from(one.unwrap()) + u8::from(other.unwrap()), 1);
    assert!(!start().await.unwrap(), "also when it is over");
    let sagas = service
        .state
        .catalog
        .read()
        .await
        .unwrap()
        .list_sagas(&catalog::SagaFilter::default())
        .await
        .unwrap();
    let kinds: Vec<_> = sagas.iter().map(|row| (row.kind.as_str(), row.project_id.as_str())).collect();
    assert_eq!(kinds, [("leftover_sweep", "holdfast")]);
    assert!(start_by_itself(&service.state, turn * 2, DAY).await.unwrap(), "another turn is another sweep");
}
