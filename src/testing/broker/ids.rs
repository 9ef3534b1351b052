//! InitProducerId: identities for idempotent producers.

use super::state::State;
use crate::error::{Code, Resource};
use crate::wire::messages::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::str::Str;

pub(super) fn handle(state: &mut State, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |code: Code| InitProducerIdResponse {
        error_code: code.get(),
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    };
    match &request.transactional_id {
        Some(id) if state.is_denied(Resource::TransactionalId, id) => {
            refused(Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        }
        // There are no transactions here yet.
        Some(_) => refused(Code::INVALID_REQUEST),
        None if state.is_denied(Resource::Cluster, &Str::default()) => {
            refused(Code::CLUSTER_AUTHORIZATION_FAILED)
        }
        // An id and its epoch come together.
        None if (request.producer_id == -1) != (request.producer_epoch == -1) => {
            refused(Code::INVALID_REQUEST)
        }
        None => InitProducerIdResponse {
            producer_id: state.next_producer_id(),
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        },
    }
}
