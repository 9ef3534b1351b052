//! InitProducerId: identities for idempotent and transactional producers.

use super::call::Call;
use super::state::State;
use super::transaction::Identity;
use super::transactions;
use crate::error::{Code, Resource};
use crate::wire::messages::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::str::Str;

pub(super) fn handle(
    state: &mut State,
    call: &Call,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    let (code, producer) = match identify(state, call, request) {
        Ok(producer) => (Code::NONE, producer),
        Err(code) => (code, Identity { id: -1, epoch: -1 }),
    };
    InitProducerIdResponse {
        error_code: code.get(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        ..InitProducerIdResponse::default()
    }
}

fn identify(state: &mut State, call: &Call, request: &InitProducerIdRequest) -> Result<Identity, Code> {
    match &request.transactional_id {
        Some(id) if state.is_denied(Resource::TransactionalId, id) => {
            Err(Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        }
        Some(id) => transactions::begin(state, call, id, request),
        None if state.is_denied(Resource::Cluster, &Str::default()) => {
            Err(Code::CLUSTER_AUTHORIZATION_FAILED)
        }
        // An id and its epoch come together.
        None if (request.producer_id == -1) != (request.producer_epoch == -1) => Err(Code::INVALID_REQUEST),
        None => Ok(Identity { id: state.next_producer_id(), epoch: 0 }),
    }
}
