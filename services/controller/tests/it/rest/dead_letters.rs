//! Dead letters are the operator's, and without a broker nobody sees them. What a broker does with them is tested over the
//! whole: integration-tests, `dead_letters`.

use rest_api::DeadLetterOrder;

use super::check_refused;
use super::fixture::{ADMIN, Service};

fn all() -> DeadLetterOrder {
    DeadLetterOrder { all: true, ..DeadLetterOrder::default() }
}

fn ids(ids: &[&str]) -> DeadLetterOrder {
    DeadLetterOrder { ids: ids.iter().map(|id| (*id).to_owned()).collect(), ..DeadLetterOrder::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_operator_sees_and_settles_dead_letters() {
    let service = Service::start().await;
    let read = "Policy doesn't allow bus:dead_letter_show to be performed.";
    let operate = "Policy doesn't allow bus:dead_letter_operate to be performed.";
    let member = &service.client;
    check_refused(member.list_dead_letters(None, None).await, 403, "FORBIDDEN", read);
    check_refused(member.show_dead_letter("x").await, 403, "FORBIDDEN", read);
    check_refused(member.retry_dead_letters(&all()).await, 403, "FORBIDDEN", operate);
    let drop = DeadLetterOrder { reason: Some("none".to_owned()), ..all() };
    check_refused(member.drop_dead_letters(&drop).await, 403, "FORBIDDEN", operate);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_the_operator_is_told_so() {
    let service = Service::start().await;
    let admin = service.client_of("acme", ADMIN);
    check_refused(
        admin.list_dead_letters(None, None).await,
        503,
        "BUS_UNREACHABLE",
        "not connected to a broker",
    );
    check_refused(
        admin.retry_dead_letters(&all()).await,
        503,
        "BUS_UNREACHABLE",
        "not connected to a broker",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_says_which_letters_and_a_drop_says_why() {
    let service = Service::start().await;
    let admin = service.client_of("acme", ADMIN);
    for (order, names) in [
        (DeadLetterOrder::default(), "say which letters"),
        (DeadLetterOrder { all: true, ..ids(&["x"]) }, "not both"),
        (DeadLetterOrder { queue: Some("q".to_owned()), ..ids(&["x"]) }, "among all letters"),
    ] {
        let outcome = admin.retry_dead_letters(&order).await;
        check_refused(outcome, 400, "DEAD_LETTER_CHOICE_INVALID", names);
    }
    for reason in [None, Some(""), Some("  "), Some("a\nforged line of the log")] {
        let order = DeadLetterOrder { reason: reason.map(str::to_owned), ..ids(&["x"]) };
        check_refused(admin.drop_dead_letters(&order).await, 400, "DEAD_LETTER_REASON_INVALID", "say why");
    }
}
