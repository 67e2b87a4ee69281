//! Control of running jobs, one message a file. Only controllers may send it; the consumer sees to that.

mod abort_job;
mod examine;
mod lease_extend;
mod lease_grant;
mod lease_refuse;
mod result_ack;

pub(crate) use abort_job::finish_cancelled;

use bus::Envelope;
use model::JobId;
use prost::Message;
use proto::convert::{self, Malformed};
use service_kit::actors::Handled;

use crate::actors::CtlHandler;

/// Handles one message.
pub async fn handle(handler: &CtlHandler, envelope: &Envelope) -> Handled {
    let body = &envelope.body;
    let handled = match envelope.type_name.as_str() {
        "holdfast.cmd.v1.LeaseGrant" => lease_grant::handle(handler, decode(body)).await,
        "holdfast.cmd.v1.LeaseRefuse" => lease_refuse::handle(handler, decode(body)).await,
        "holdfast.cmd.v1.LeaseExtend" => lease_extend::handle(handler, decode(body)).await,
        "holdfast.cmd.v1.AbortJob" => abort_job::handle(handler, decode(body)).await,
        "holdfast.cmd.v1.Examine" => examine::handle(handler, decode(body)),
        "holdfast.cmd.v1.ResultAck" => result_ack::handle(handler, decode(body)).await,
        other => Err(format!(
            "UNKNOWN_TYPE: this datamover knows no control message {other:?}; is it older than the controller?"
        )),
    };
    handled.unwrap_or_else(Handled::Dead)
}

/// A parsed body, or why it makes no sense.
type Decoded<M> = Result<M, String>;

fn decode<M: Message + Default>(body: &[u8]) -> Decoded<M> {
    M::decode(body).map_err(|error| format!("UNDECODABLE: the body does not decode: {error}"))
}

fn job(job_id: &str, attempt: u32) -> Result<(JobId, u32), String> {
    if attempt == 0 {
        return Err(malformed(Malformed::OutOfRange { field: "attempt" }));
    }
    Ok((convert::id("job_id", job_id).map_err(malformed)?, attempt))
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn malformed(error: Malformed) -> String {
    format!("MALFORMED: {error}")
}
