//! The state of the whole, over REST.

use std::sync::Arc;

use super::check_refused;
use super::fixture::{ADMIN, READER, Service, make_status};

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_the_whole_is_the_admins_and_comes_as_it_was_gathered() {
    let service = Service::start().await;
    let admin = service.client_of("acme", ADMIN);
    check_refused(admin.show_status().await, 503, "STATUS_NOT_GATHERED", "in a moment");
    service.board.send_replace(Some(Arc::new(make_status())));
    assert_eq!(admin.show_status().await.unwrap(), make_status());
    for client in [&service.client, &service.client_of("acme", READER)] {
        check_refused(client.show_status().await, 403, "FORBIDDEN", "status:status_show");
    }
}
