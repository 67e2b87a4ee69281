//! `/bus/dead-letters`

use actix_web::{HttpResponse, web};
use rest_api::{DeadLetterBody, DeadLetterList, DeadLetterOrder, DeadLetterOutcome, DeadLetterOutcomes};
use serde::Deserialize;

use super::asked::Asked;
use super::body::Body;
use super::error::Reply;
use super::view::{show_dead_letter, show_dead_letter_summary};
use crate::app::Action;
use crate::app::dead_letters::{self, Chosen, Filter, Order, Outcome};

/// An operator's reason is a sentence or two.
const REASON_LENGTH_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    queue: Option<String>,
    code: Option<String>,
}

pub(super) async fn list(asked: Asked, query: web::Query<Query>) -> Result<HttpResponse, Reply> {
    let Query { queue, code } = query.into_inner();
    let filter = Filter { queue, code };
    let dead_letters = asked
        .run(Action::DeadLetterRead, move |state, _| async move {
            let listed = dead_letters::list(&state, &filter).await?;
            Ok(listed.iter().map(show_dead_letter_summary).collect())
        })
        .await?;
    Ok(HttpResponse::Ok().json(DeadLetterList { dead_letters }))
}

pub(super) async fn show(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path.into_inner().1;
    let dead_letter = asked
        .run(Action::DeadLetterRead, move |state, _| async move {
            Ok(show_dead_letter(&dead_letters::show(&state, &id).await?))
        })
        .await?;
    Ok(HttpResponse::Ok().json(DeadLetterBody { dead_letter }))
}

pub(super) async fn retry(asked: Asked, body: Body<DeadLetterOrder>) -> Result<HttpResponse, Reply> {
    let chosen = choose(&body.0)?;
    settle(asked, chosen, Order::Retry, "retried").await
}

pub(super) async fn drop(asked: Asked, body: Body<DeadLetterOrder>) -> Result<HttpResponse, Reply> {
    let chosen = choose(&body.0)?;
    let reason = body.0.reason.unwrap_or_default().trim().to_owned();
    if reason.is_empty() || reason.len() > REASON_LENGTH_MAX || reason.chars().any(char::is_control) {
        let message = format!("say why the letters are dropped: reason, 1 to {REASON_LENGTH_MAX} characters");
        return Err(Reply::invalid("DEAD_LETTER_REASON_INVALID", message));
    }
    settle(asked, chosen, Order::Drop { reason }, "dropped").await
}

fn choose(order: &DeadLetterOrder) -> Result<Chosen, Reply> {
    let refuse = |message: &str| Err(Reply::invalid("DEAD_LETTER_CHOICE_INVALID", message));
    let has_filter = order.queue.is_some() || order.code.is_some();
    match (order.ids.is_empty(), order.all) {
        (true, true) => Ok(Chosen::All(Filter { queue: order.queue.clone(), code: order.code.clone() })),
        (false, false) if !has_filter => Ok(Chosen::Ids(order.ids.iter().cloned().collect())),
        (false, false) => refuse("queue and code choose among all letters: leave out the ids, and set all"),
        (true, false) => refuse("say which letters: their ids, or all"),
        (false, true) => refuse("either ids or all, not both"),
    }
}

async fn settle(
    asked: Asked,
    chosen: Chosen,
    order: Order,
    done: &'static str,
) -> Result<HttpResponse, Reply> {
    let outcomes = asked
        .run(Action::DeadLetterOperate, move |state, caller| async move {
            let outcomes = dead_letters::settle(&state, &caller, &chosen, &order).await?;
            Ok(outcomes.into_iter().map(|outcome| show_outcome(outcome, done)).collect())
        })
        .await?;
    Ok(HttpResponse::Ok().json(DeadLetterOutcomes { outcomes }))
}

fn show_outcome(outcome: Outcome, done: &str) -> DeadLetterOutcome {
    let Outcome { id, obstacle } = outcome;
    let (error_code, error_msg) = obstacle.map(|failure| (failure.code.to_string(), failure.message)).unzip();
    let result = if error_code.is_some() { "kept" } else { done }.to_owned();
    DeadLetterOutcome { id, result, error_code, error_msg }
}
